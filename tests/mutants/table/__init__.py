"""All mutations, picked by hand: faults that somebody could make, none of them without an effect."""

from typing import Final

from tests.mutants.table.archive import ARCHIVE
from tests.mutants.table.callbacks import CALLBACKS
from tests.mutants.table.clients import CLIENTS
from tests.mutants.table.notifications import NOTIFICATIONS
from tests.mutants.table.reconcile import RECONCILE
from tests.mutants.table.runtime import RUNTIME
from tests.mutants.table.state import STATE
from tests.mutants.table.submissions import SUBMISSIONS

MUTATIONS: Final = (*STATE, *SUBMISSIONS, *CALLBACKS, *RECONCILE, *NOTIFICATIONS, *CLIENTS, *ARCHIVE, *RUNTIME)
