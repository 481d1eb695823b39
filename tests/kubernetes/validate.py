"""Checks every resource that the gateway makes for a cluster against the schemas of Kubernetes, strictly and offline.

    validate.py --binary target/debug/fieldgate

An unknown field, a wrong type and an unknown kind are faults. What is checked: the bundle of k3s/, what `fieldgate k8s render`
prints for configurations that use every kind of port, method and file, and written.json, which is what the controller writes: the
tests of the controller compare it. Certificates of cert-manager are held against certificate.json, which has the fields of `v1`
that matter here, as its reference of the API describes them.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

# The oldest that a gateway in the field still runs, one in between, and the newest.
VERSIONS = ["1.28", "1.33", "1.37"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
CERTIFICATE = jsonschema.Draft202012Validator(json.loads((HERE / "certificate.json").read_text()))

# No resource of a cluster.
KUSTOMIZATION = ("kustomize.config.k8s.io/v1beta1", "Kustomization")

# What the controller writes, all of which there has to be.
WRITTEN = {"Certificate", "Event", "NetworkPolicy", "Service"}


class Strict(yaml.SafeLoader):
    """A loader that takes no key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {twice} twice")
        return super().construct_mapping(node, deep)


def documents(text):
    for document in yaml.load_all(text, Strict):
        yield from document["items"] if document.get("kind") == "List" else [document]


def faults(name, text):
    """Everything that is wrong with the documents of a text, and how many there are."""
    found, count = [], 0
    for document in documents(text):
        count += 1
        kind = (document.get("apiVersion"), document.get("kind"))
        if kind == KUSTOMIZATION:
            continue
        if kind == ("cert-manager.io/v1", "Certificate"):
            for error in CERTIFICATE.iter_errors(document):
                found.append(f"{name}: {kind[1]}: {'.'.join(str(part) for part in error.path)}: {error.message}")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                found.append(f"{name}: {kind[1]} {version}: {path}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{name}: {kind[1]} {version}: there is no such kind")
    return found, count


def rendered(binary, config, *options):
    """What the command prints for a configuration; nothing where that cannot run in a pod."""
    said = subprocess.run(
        [binary, "k8s", "render", "--config", config, *options], capture_output=True, text=True, check=False
    )
    if said.returncode not in (0, 78):
        sys.exit(f"{config}: {said.stderr}")
    return said.stdout if said.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    binary = parser.parse_args().binary
    found, count, configurations = [], 0, 0
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / "k3s").rglob("*.yaml"))}
    full = ["--cluster-issuer", "plant", "--storage-class", "local-path", "--storage", "8Gi", "--namespace", "edge"]
    sources = [*(ROOT / "config" / "examples").glob("*.toml"), *(ROOT / "tests" / "kubernetes").glob("*.toml")]
    sources += (ROOT / "tests" / "aio" / "expected").glob("*.toml")
    for config in sorted(sources):
        for options in ([], full):
            # conf.d beside a file would count, so each has a folder of its own.
            with tempfile.TemporaryDirectory() as folder:
                copy = pathlib.Path(folder) / "gateway.toml"
                copy.write_text(config.read_text())
                text = rendered(binary, copy, *options)
            if text is not None:
                configurations += 1
                texts[f"{config.name} {' '.join(options[:1])}"] = text
    texts["written.json"] = (HERE / "written.json").read_text()
    for kind in WRITTEN - {document["kind"] for document in documents(texts["written.json"])}:
        found.append(f"written.json: there is no {kind}")
    for name, text in texts.items():
        wrong, checked = faults(name, text)
        found += wrong
        count += checked
    # What would be missed if the checks checked nothing.
    for broken in (
        {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "1883x", "colour": 1}]}},
        {"apiVersion": "apps/v1", "kind": "Deploiment"},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageclass": "x"}},
    ):
        if len(faults("broken", yaml.safe_dump(broken))[0]) != len(VERSIONS):
            found.append(f"a broken {broken['kind']} was taken")
    [good] = [one for one in documents(texts["written.json"]) if one["kind"] == "Certificate"][:1]
    for change in ({"secretname": "x"}, {"privateKey": {"algorithm": "ECDSA", "size": 2048}}, {"duration": "90d"}, {"dnsNames": []}):
        if not faults("broken", yaml.safe_dump({**good, "spec": {**good["spec"], **change}}))[0]:
            found.append(f"a Certificate with {change} was taken")
    for line in found:
        print(line, file=sys.stderr)
    if configurations < 20:
        sys.exit(f"only {configurations} configurations were rendered")
    print(f"{count} resources of {configurations} configurations, {len(VERSIONS)} versions, {len(found)} faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
