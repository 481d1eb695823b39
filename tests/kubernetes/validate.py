"""Checks every resource that the gateway makes for a cluster against the schemas of Kubernetes, strictly and offline.

    validate.py --binary target/debug/fieldgate

An unknown field, a wrong type and an unknown kind are faults. What is checked: the bundle of k3s/, and what
`fieldgate k8s render` prints for configurations that use every kind of port, method and file.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

# The oldest that a gateway in the field still runs, one in between, and the newest.
VERSIONS = ["1.28", "1.33", "1.37"]

# Resources of others, which Kubernetes has no schema of.
FOREIGN = {("cert-manager.io/v1", "Certificate"), ("kustomize.config.k8s.io/v1beta1", "Kustomization")}

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Strict(yaml.SafeLoader):
    """A loader that takes no key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {twice} twice")
        return super().construct_mapping(node, deep)


def faults(name, text):
    """Everything that is wrong with the documents of a text, and how many there are."""
    found, count = [], 0
    for document in yaml.load_all(text, Strict):
        count += 1
        kind = (document.get("apiVersion"), document.get("kind"))
        if kind in FOREIGN:
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
    for name, text in texts.items():
        wrong, documents = faults(name, text)
        found += wrong
        count += documents
    # What would be missed if the checks checked nothing.
    for broken in (
        {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": "1883x", "colour": 1}]}},
        {"apiVersion": "apps/v1", "kind": "Deploiment"},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageclass": "x"}},
    ):
        if len(faults("broken", yaml.safe_dump(broken))[0]) != len(VERSIONS):
            found.append(f"a broken {broken['kind']} was taken")
    for line in found:
        print(line, file=sys.stderr)
    if configurations < 20:
        sys.exit(f"only {configurations} configurations were rendered")
    print(f"{count} resources of {configurations} configurations, {len(VERSIONS)} versions, {len(found)} faults")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
