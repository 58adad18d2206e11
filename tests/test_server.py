"""Prefect's server: a cursor of SQLite that is garbage keeps nobody waiting but the thread that collects it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TWO_TRANSACTIONS = """
import gc, sqlite3, sys, threading, time
from flows.server import collect_beside

if sys.argv[2] == "beside":
    collect_beside()
first, second = (sqlite3.connect(sys.argv[1], timeout=3, isolation_level=None, check_same_thread=False) for _ in range(2))
first.execute("PRAGMA journal_mode = WAL")
first.execute("CREATE TABLE runs (name)")
first.execute("BEGIN IMMEDIATE")  # this one has the lock
garbage = [second.execute("SELECT 1 UNION SELECT 2")]  # a statement that was broken off: it has another row
garbage.append(garbage)
said = []

def want_the_lock():
    try:
        second.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        said.append(str(error))
    else:
        said.append("second has it")

waiting = threading.Thread(target=want_the_lock)
waiting.start()
time.sleep(0.5)
del garbage
kept = [[] for _ in range(20_000)]  # a loop that works, and by that collects garbage
time.sleep(1.5)  # time for the other thread to begin with it
first.execute("COMMIT")
waiting.join()
print(*said)
"""


@pytest.mark.parametrize(("where", "said"), [("here", "database is locked"), ("beside", "second has it")])
def test_garbage_keeps_no_lock_from_being_given_back(where, said, tmp_path):
    """Collected by the thread that would give the lock back, a cursor waits with it in vain; collected beside, it does not."""
    words = [sys.executable, "-c", TWO_TRANSACTIONS, tmp_path / "runs.db", where]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == said
