# One image for `serve`, `worker` and `migrate`.
#
# The bases are pinned to a patch release and a Debian release. A digest pins them for good: where yours can be looked
# up (`docker buildx imagetools inspect`), build with --build-arg BASE=python:3.13.12-slim-trixie@sha256:…; none is
# written here, because none could be checked when this was written.
ARG BASE=python:3.13.12-slim-trixie

FROM ${BASE} AS build
WORKDIR /srv/gateway
# `yes` adds what traces need.
ARG OTEL=no
# The dependencies come first: their layer is rebuilt only when the lock changes.
COPY requirements.lock requirements-otel.lock ./
RUN case "${OTEL}" in no) lock=requirements.lock ;; yes) lock=requirements-otel.lock ;; \
      *) echo "OTEL must be yes or no" >&2; exit 1 ;; esac \
 && python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile \
      --require-hashes --only-binary :all: -r "${lock}"
COPY pyproject.toml alembic.ini ./
COPY migrations migrations
COPY app app
# The demo speaks to the gateway as anybody does.
COPY sdk/python sdk/python
# Editable, so that `import app` is /srv/gateway/app and `migrations` is its neighbour, as in a checkout.
# The installers are not needed any more after that. Bytecode is compiled here, because the running user
# may not write it; checked by no time stamp, because a copied layer need not keep them. The modes are made
# good for a checkout with a strict umask.
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile \
      --no-deps --no-build-isolation --editable . --editable sdk/python \
 && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools pip \
 && rm -rf build ./*.egg-info sdk/python/build sdk/python/*.egg-info \
 && chmod -R a+rX /srv/gateway \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib /srv/gateway

FROM ${BASE}
ARG VERSION=0.2.0.dev0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tempolor-gateway" \
      org.opencontainers.image.description="Submits to TemPolor, receives its callbacks, keeps the state and tells the caller" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# What could install or build something goes, the base's own pip too; and no program keeps a right to become root.
RUN groupadd --gid 10001 gateway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
 && install -d -o gateway -g gateway -m 0750 /data /data/archive \
 && find / -xdev \( -path "*/python3*/ensurepip" -o -path "*-packages/pip" -o -path "*-packages/pip-*" \
      -o -path "*-packages/setuptools" -o -path "*-packages/setuptools-*" -o -path "*-packages/wheel" \
      -o -path "*-packages/wheel-*" -o -path "*/bin/pip" -o -path "*/bin/pip3*" \) -prune -exec rm -rf {} + \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/gateway /srv/gateway
# TMPDIR: with a read-only root, what may be written is /data and /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# The default database is ./gateway.db: it lives in the volume, beside an archive if there is one in a directory, and
# nothing else is ever written.
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# For `serve` on its default port; a `worker` names its own (see docker-compose.yml).
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# A list, so that no shell stands between the signal and the process. No ENTRYPOINT: what is run is the whole command.
CMD ["tempolor-gateway", "serve"]
