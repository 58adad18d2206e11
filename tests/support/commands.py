"""Every command of `labelfactory`."""

from app import main as app_main

COMMANDS = (
    "import demo",
    "import folder",
    "import table",
    "import coco",
    "import hf",
    "import voc",
    "run",
    "status",
    "sweep",
    "report",
    "export",
    "corrections add",
    "corrections list",
    "corrections remove",
    "review sample",
    "review list",
    "review points",
    "review estimate",
    "quarantine list",
    "quarantine retry",
    "quarantine release",
    "predict",
    "package",
    "profile",
    "parameters",
    "record",
    "audit model",
    "audit mask",
    "audit pixel",
    "audit diff",
    "audit verify",
    "serve",
    "promote",
    "withdraw",
    "export-lineage",
    "new",
    "compare",
    "doctor",
    "up",
    "down",
    "deploy",
    "gc",
    "push",
    "pull",
)


EVERYTHING = app_main.command_line(*app_main.COMMANDS)
"""The program with all of its commands loaded."""
