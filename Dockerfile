# One image for `serve`, `worker` and `migrate`.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /srv/gateway
# The dependencies come first: their layer is rebuilt only when the lock changes.
COPY requirements.lock ./
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile \
      --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml alembic.ini ./
COPY migrations migrations
COPY app app
# Editable, so that `import app` is /srv/gateway/app and `migrations` is its neighbour, as in a checkout.
# The installers are not needed any more after that. Bytecode is compiled here, because the running user
# may not write it; checked by no time stamp, because a copied layer need not keep them. The modes are made
# good for a checkout with a strict umask.
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile \
      --no-deps --no-build-isolation --editable . \
 && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools pip \
 && rm -rf build ./*.egg-info \
 && chmod -R a+rX /srv/gateway \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib /srv/gateway

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --gid 10001 gateway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway -m 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/gateway /srv/gateway
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# The default database is ./gateway.db: it lives in the volume, and nothing else is ever written.
WORKDIR /data
VOLUME /data
EXPOSE 8000
# For `serve` on its default port; a `worker` has no HTTP and switches it off (see docker-compose.yml).
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["tempolor-gateway", "serve"]
