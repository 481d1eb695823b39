"""The layer as BitBake's own parser and fetchers see it: PyPI's bitbake-setup brings the library `bb` whole, but for three
parts that only servers need."""

import logging
import pathlib
import sys
import types

import support

for absent in ("hashserv", "hashserv.client", "prserv", "prserv.serv", "prserv.client"):
    sys.modules.setdefault(absent, types.ModuleType(absent))

import bb
import bb.data
import bb.event
import bb.fetch2
import bb.parse
import bb.utils

STUBS = pathlib.Path(__file__).parent / "stubs"

# Everything that BitBake has to say about the layer goes through its log.
COMPLAINTS = []


class Complaints(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            COMPLAINTS.append(record.getMessage())


logging.getLogger("BitBake").addHandler(Complaints())
logging.getLogger("BitBake").propagate = False


def configuration(tree, machine, work, settings=None):
    """What layer.conf and the distro say for a machine."""
    del COMPLAINTS[:]
    bb.parse.BBHandler.cached_statements.clear()
    bb.fetch2.urldata_cache.clear()
    layer = tree / support.LAYER
    data = bb.data.init()
    data.setVar("__bbclasstype", "global")
    data.setVar("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
    data.setVar("BBPATH", str(STUBS))
    data.setVar("TOPDIR", str(work))
    data.setVar("TMPDIR", str(work))
    data.setVar("MACHINE", machine)
    data.setVar("DISTRO", "fieldgate-os")
    for name, value in (settings or {}).items():
        data.setVar(name, value)
    bb.parse.handle(str(STUBS / "conf/bitbake.conf"), data)
    data.setVar("LAYERDIR", str(layer))
    bb.parse.handle(str(layer / "conf/layer.conf"), data)
    data.expandVarref("LAYERDIR")
    data.delVar("LAYERDIR")
    bb.parse.handle(str(layer / "conf/distro/fieldgate-os.conf"), data, True)
    bb.parse.init_parser(data)
    data.setVar("__bbclasstype", "recipe")
    bb.parse.BBHandler.inherit("base", "tests", 0, data)
    bb.utils.mkdirhier(data.getVar("CACHE"))
    bb.fetch2.fetcher_init(data, servercontext=False)
    return data


def appends(tree, machine):
    """The bbappends of a build for this machine, by the name of what they append to."""
    layer = tree / support.LAYER
    found = {}
    for file in sorted(layer.rglob("*.bbappend")):
        dynamic = file.relative_to(layer).parts[:2]
        if dynamic == ("dynamic-layers", "raspberrypi") and support.machine_class(machine) != "rpi":
            continue
        found.setdefault(file.stem.split("_")[0], []).append(str(file))
    return found


def recipes(tree, machine, work, settings=None):
    """Every recipe of the layer, and every one that it appends to, as name and data."""
    base = configuration(tree, machine, work, settings)
    own = sorted((tree / support.LAYER).rglob("*.bb"))
    extended = appends(tree, machine)
    files = own + [file for file in sorted(STUBS.rglob("*.bb")) if file.stem.split("_")[0] in extended]
    parsed = {}
    for file in files:
        data = base.createCopy()
        name = file.stem.split("_")[0]
        data.setVar("__BBAPPEND", " ".join(extended.get(name, [])))
        data.setVar("FILE", str(file))
        parsed[name] = bb.parse.handle(str(file), data)[""]
    return parsed


def parse(tree, machine, work, name, settings=None):
    return recipes(tree, machine, work, settings)[name]


def execute_python(data, task):
    """Runs a python task of a recipe."""
    for folder in (data.getVarFlag(task, "dirs") or "").split():
        bb.utils.mkdirhier(folder)
    scope = {"bb": bb}
    exec(compile(f"def {task}(d):\n{data.getVar(task, False)}", task, "exec"), scope)  # the layer's own text
    scope[task](data)


def shell_script(data, task):
    """A shell task, expanded as BitBake expands it, with the functions that classes give every task."""
    functions = 'bbwarn() { echo "WARNING: $*"; }\nbbfatal() { echo "ERROR: $*"; exit 1; }\nbbnote() { :; }\n'
    called = data.getVar(task)
    # EXPORT_FUNCTIONS leaves a call of the function of the class.
    inner = "".join(
        f"{name}() {{\n{data.getVar(name)}\n}}\n"
        for name in ("base_do_install", "cargo_do_install")
        if data.getVar(name) and name in called
    )
    return f"set -e\n{functions}{inner}{called}\n"
