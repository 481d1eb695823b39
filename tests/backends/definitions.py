"""What the API server drops of custom resources, by the definitions as they are committed.

The file is YAML as `fieldgate k8s crds` writes it, and no other: keys and values in one line, lists whose dashes stand below
their key. So nothing but Python is needed to read it.
"""

import json
import pathlib

PATH = pathlib.Path(__file__).resolve().parents[2] / "k3s" / "crds.yaml"


def scalar(text):
    if text[:1] in ('"', "[", "{"):
        return json.loads(text)
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdigit() else text


def table(lines, indent):
    """The table whose keys have an indentation. Lines are taken away from the end of the list."""
    found = {}
    while lines and lines[-1][0] == indent and not lines[-1][1].startswith("- "):
        _, text = lines.pop()
        key, _, rest = text.partition(":")
        key = json.loads(key) if key.startswith('"') else key
        if rest.strip():
            found[key] = scalar(rest.strip())
        elif lines and lines[-1][1].startswith("- "):
            found[key] = items(lines, lines[-1][0])
        else:
            found[key] = table(lines, indent + 2)
    return found


def items(lines, indent):
    found = []
    while lines and lines[-1][0] == indent and lines[-1][1].startswith("- "):
        text = lines.pop()[1][2:]
        if ": " in text or text.endswith(":"):
            lines.append((indent + 2, text))
            found.append(table(lines, indent + 2))
        else:
            found.append(scalar(text))
    return found


def documents(text):
    for document in text.split("---\n"):
        lines = [line for line in document.splitlines() if line and not line.startswith("#")]
        lines = [(len(line) - len(line.lstrip()), line.lstrip()) for line in reversed(lines)]
        yield table(lines, 0)
        if lines:
            raise ValueError(f"not understood: {lines[-1][1]}")


def schemas():
    """Schemas by group, version and plural."""
    found = {}
    for definition in documents(PATH.read_text(encoding="utf-8")):
        spec = definition["spec"]
        for version in spec["versions"]:
            key = (spec["group"], version["name"], spec["names"]["plural"])
            found[key] = version["schema"]["openAPIV3Schema"]
    return found


SCHEMAS = schemas()


def drop_unknown(schema, value):
    """Drops the keys that a schema does not have, and those that say nothing where it does not take that."""
    if isinstance(value, dict):
        properties, other = schema.get("properties", {}), schema.get("additionalProperties")
        for key in list(value):
            below = properties.get(key, other)
            if below is not None and value[key] is None and not below.get("nullable"):
                del value[key]
            elif below is not None:
                drop_unknown(below, value[key])
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                del value[key]
    elif isinstance(value, list):
        for item in value:
            drop_unknown(schema.get("items", {}), item)


def prune(path, found):
    """Drops of an object what its definition does not have. Metadata are the server's own."""
    pieces = path.strip("/").split("/")
    schema = SCHEMAS.get((pieces[1], pieces[2], pieces[5])) if pieces[0] == "apis" and len(pieces) == 7 else None
    for key in list(found) if schema else []:
        if key not in schema["properties"]:
            del found[key]
        elif key != "metadata":
            drop_unknown(schema["properties"][key], found[key])
