"""Prefect's server: a cursor of SQLite that is garbage keeps nobody waiting but the thread that collects it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TWO_TRANSACTIONS = """
import sqlite3, sys, threading, time, weakref
from flows.server import prefect_server as server

server.ROUNDS = 1  # all is collected each time, also what has grown old meanwhile
if sys.argv[2] == "beside":
    server.collect_beside()
first, second = (sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None, check_same_thread=False) for _ in range(2))
first.execute("PRAGMA journal_mode = WAL")
first.execute("CREATE TABLE runs (name)")
first.execute("BEGIN IMMEDIATE")  # this one has the lock
garbage = [second.cursor()]
garbage.append(garbage)
said = []
try:
    garbage[0].execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    said.append(str(error))
cursor = weakref.ref(garbage[0])
second.execute(f"PRAGMA busy_timeout = {sys.argv[3]}000")

def want_the_lock():
    try:
        second.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        said.append(str(error))
    else:
        said.append("second has it")

waiting = threading.Thread(target=want_the_lock)
waiting.start()
time.sleep(1)
del garbage
kept = [[] for _ in range(20_000)]  # a loop that works, and by that collects garbage
time.sleep(1.5)  # time for the other thread to begin with it
first.execute("COMMIT")
waiting.join()
for _ in range(100):
    if cursor() is None:
        said.append("the cursor is gone")
        break
    time.sleep(0.1)
print(*said, sep=", then ")
"""


@pytest.mark.parametrize(
    ("where", "patience", "said"), [("here", "5", "database is locked"), ("beside", "60", "second has it")]
)
def test_garbage_keeps_no_lock_from_being_given_back(where, patience, said, tmp_path):
    """Collected by the thread that would give the lock back, a cursor waits with it in vain; collected beside, it does not."""
    words = [sys.executable, "-c", TWO_TRANSACTIONS, tmp_path / "runs.db", where, patience]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == f"database is locked, then {said}, then the cursor is gone"
