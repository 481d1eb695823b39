"""The gateway against a real API server and its database, in a network namespace of their own: see scripts/kube-e2e.

What is rendered and what the controller needs of rights is applied as it ships, so a right that is missing shows.
"""

import argparse
import base64
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ADDRESS = "10.99.0.1"
ADMIN = "admin-token"
GROUP = "/apis/mqttbroker.fieldgate.io/v1/namespaces/fieldgate"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE = 120


class Failure(Exception):
    """Something that is not as it should be."""


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def until(what, holds, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > end:
            raise Failure(f"in vain: {what}")
        time.sleep(0.2)


class Api:
    """The API server, spoken to as an administrator."""

    def __init__(self, folder):
        self.context = ssl.create_default_context(cafile=folder / "pki/apiserver.crt")

    def call(self, method, path, body=None, content_type="application/json"):
        request = urllib.request.Request(f"https://{ADDRESS}:6443{path}", method=method)
        request.add_header("Authorization", f"Bearer {ADMIN}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content_type)
        with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
            text = answer.read()
        # Whether it is ready is said in plain words.
        return json.loads(text) if text[:1] == b"{" else text.decode()

    def status(self, method, path, body=None, content_type="application/json"):
        """The status of a request that may be refused."""
        try:
            self.call(method, path, body, content_type)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
        return 200

    def find(self, path):
        try:
            return self.call("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def apply(self, path, found):
        self.call("PATCH", f"{path}?fieldManager=test&force=true", found, "application/apply-patch+yaml")

    def condition(self, name, kind, status, reason):
        """Waits until a condition of a listener is so."""

        def holds():
            found = self.find(f"{GROUP}/brokerlisteners/{name}") or {}
            conditions = found.get("status", {}).get("conditions", [])
            return [one for one in conditions if (one["type"], one["status"], one["reason"]) == (kind, status, reason)]

        return until(f"{kind} {status} {reason} of {name}", holds)


def path_of(found):
    """Where a rendered object is."""
    version, metadata = found["apiVersion"], found["metadata"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    plural = found["kind"].lower()
    plural = plural[:-1] + "ies" if plural.endswith("y") else plural + "s"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{base}{namespace}/{plural}/{metadata['name']}"


def start_cluster(folder, api_server):
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "cbr0", "type", "bridge")
    run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "cbr0")
    run("ip", "link", "set", "cbr0", "up")
    run("openssl", "genrsa", "-out", folder / "sa.key", "2048")
    run("openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")
    (folder / "tokens.csv").write_text(f"{ADMIN},admin,u1,system:masters\n")
    log = open(folder / "cluster.log", "w", encoding="utf-8")
    client = "http://127.0.0.1:2379"
    etcd = ["etcd", "--data-dir", folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client]
    subprocess.Popen(etcd, stdout=log, stderr=log)
    issuer = "https://kubernetes.default.svc"
    subprocess.Popen(
        [
            api_server, f"--etcd-servers={client}", f"--cert-dir={folder}/pki", f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}", "--secure-port=6443", f"--service-account-issuer={issuer}",
            f"--service-account-key-file={folder}/sa.pub", f"--service-account-signing-key-file={folder}/sa.key",
            f"--api-audiences={issuer}", "--service-cluster-ip-range=10.43.0.0/16", "--authorization-mode=Node,RBAC",
            f"--token-auth-file={folder}/tokens.csv", "--allow-privileged=true",
        ],
        stdout=log, stderr=log,
    )
    until("the certificate of the API server", (folder / "pki/apiserver.crt").exists)
    api = Api(folder)
    until("the API server", lambda: api.status("GET", "/readyz/ping") == 200 or api.status("GET", "/api") == 200)
    until("the roles of the API server", lambda: api.find("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:auth-delegator"))
    return api


def token_of(api, namespace, name, audience=None, seconds=3600):
    body = {"spec": {"expirationSeconds": seconds}}
    if audience:
        body["spec"]["audiences"] = [audience]
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    return api.call("POST", path, body)["status"]["token"]


def connect(port, client_id, username=None, password=None):
    """The code of CONNACK of MQTT 3.1.1."""

    def text(value):
        data = value.encode()
        return struct.pack("!H", len(data)) + data

    flags, payload = 2, text(client_id)
    if username:
        flags |= 0xC0
        payload += text(username) + text(password)
    body = text("MQTT") + bytes([4, flags]) + struct.pack("!H", 30) + payload
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            break
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(30)
        client.sendall(b"\x10" + length + body)
        answer = client.recv(4)
    return answer[3] if len(answer) == 4 else None


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def listener(ports, **more):
    return {"apiVersion": "mqttbroker.fieldgate.io/v1", "kind": "BrokerListener", "spec": {"ports": ports, **more}}


def check_definitions(api):
    bad = listener([{"port": 1883}], serviceType="Balancer")
    bad["metadata"] = {"name": "bad"}
    assert api.status("POST", f"{GROUP}/brokerlisteners", bad) == 422, "a word that does not exist"
    bad = listener([{"port": 70000}])
    bad["metadata"] = {"name": "bad"}
    assert api.status("POST", f"{GROUP}/brokerlisteners", bad) == 422, "a port that does not exist"
    # What is misspelled is stored as it is, so that it can be told and opens nothing.
    bad = listener([{"port": 1885, "authentificationRef": "default"}], serviceType="nodePort")
    bad["metadata"] = {"name": "misspelled"}
    assert api.status("POST", f"{GROUP}/brokerlisteners", bad) in (200, 201), "letters of either case"
    [accepted] = api.condition("misspelled", "Accepted", "False", "Invalid")
    assert "`authenticationRef`" in accepted["message"], accepted
    assert not is_open(1885)
    api.call("DELETE", f"{GROUP}/brokerlisteners/misspelled")


def check_listeners(api):
    path = f"{GROUP}/brokerlisteners/plain"
    api.apply(path, {**listener([{"port": 1883}]), "metadata": {"name": "plain"}})
    assert api.find(path)["spec"]["serviceType"] == "ClusterIp", "the default is filled in"
    api.condition("plain", "Ready", "True", "Listening")
    assert connect(1883, "a") == 0
    service = api.find("/api/v1/namespaces/fieldgate/services/plain")
    assert service["spec"]["clusterIP"].startswith("10.43."), service
    addresses = until("the address", lambda: api.find(path)["status"].get("addresses", [])[1:])
    assert addresses[0]["value"] == service["spec"]["clusterIP"], addresses
    events = api.call("GET", "/api/v1/namespaces/fieldgate/events")["items"]
    assert [event["reason"] for event in events if event["involvedObject"]["name"] == "plain"] == ["Listening"]


def check_late_secret(api, folder):
    path = f"{GROUP}/brokerlisteners/secure"
    tls = {"mode": "Manual", "manual": {"secretRef": "server-tls"}}
    found = listener([{"port": 8883, "tls": tls}], serviceType="NodePort")
    api.apply(path, {**found, "metadata": {"name": "secure"}})
    api.condition("secure", "Ready", "False", "SecretNotFound")
    assert not is_open(8883)
    assert api.find("/api/v1/namespaces/fieldgate/services/secure")["spec"]["ports"][0]["nodePort"]
    key, certificate = folder / "server.key", folder / "server.crt"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    data = {"tls.crt": certificate, "tls.key": key}
    data = {name: base64.b64encode(file.read_bytes()).decode() for name, file in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "server-tls"}, "type": "kubernetes.io/tls", "data": data}
    begin = time.monotonic()
    api.call("POST", "/api/v1/namespaces/fieldgate/secrets", secret)
    api.condition("secure", "Ready", "True", "Listening")
    context = ssl.create_default_context(cafile=certificate)
    with socket.create_connection(("127.0.0.1", 8883)) as client, context.wrap_socket(client, server_hostname="localhost"):
        pass
    return time.monotonic() - begin


def check_tokens(api):
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "press", "annotations": {"aio-broker-auth/floor": "1"}}}
    api.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    path = f"{GROUP}/brokerlisteners/tokens"
    found = listener([{"port": 1884, "authenticationRef": "default"}], serviceType="LoadBalancer")
    api.apply(path, {**found, "metadata": {"name": "tokens"}})
    api.condition("tokens", "Ready", "True", "Listening")
    good = token_of(api, "default", "press", "aio-internal")
    assert connect(1884, "pod-1", "K8S-SAT", good) == 0
    assert connect(1884, "pod-2", "K8S-SAT", token_of(api, "default", "press", "elsewhere")) == 5
    assert connect(1884, "pod-2", "K8S-SAT", "nonsense") == 5


def check_end(api):
    api.call("DELETE", f"{GROUP}/brokerlisteners/plain")
    until("the port closes", lambda: not is_open(1883))
    # There is no garbage collector here.
    until("the service goes", lambda: api.find("/api/v1/namespaces/fieldgate/services/plain") is None)
    assert connect(1884, "pod-3", "K8S-SAT", token_of(api, "default", "press", "aio-internal")) == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--api-server", required=True, type=pathlib.Path)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        gateway = None
        try:
            api = start_cluster(folder, arguments.api_server)
            config = folder / "gateway.toml"
            config.write_text("[kubernetes]\ncontroller = true\n")
            rendered = subprocess.run(
                [arguments.binary, "k8s", "render", "--config", config], capture_output=True, text=True, check=True
            ).stdout
            definitions = subprocess.run([arguments.binary, "k8s", "crds"], capture_output=True, text=True, check=True).stdout
            objects = [*yaml.safe_load_all(definitions), *yaml.safe_load_all(rendered)]
            for found in objects:
                api.apply(path_of(found), found)
            until("the definitions", lambda: api.status("GET", f"{GROUP}/brokerlisteners") == 200)
            (folder / "token").write_text(token_of(api, "fieldgate", "fieldgate"))
            config.write_text(
                f'[kubernetes]\ncontroller = true\nnamespace = "fieldgate"\napi_server = "https://{ADDRESS}:6443"\n'
                f'ca = "{folder}/pki/apiserver.crt"\ntoken_file = "{folder}/token"\n'
                '[protection]\nnever_banned = ["127.0.0.0/8"]\n'
            )
            log = open(folder / "gateway.log", "w", encoding="utf-8")
            command = [arguments.binary, "serve", "--config", config, "--state-dir", folder / "state"]
            gateway = subprocess.Popen(command, stdout=log, stderr=log)
            check_definitions(api)
            check_listeners(api)
            seconds = check_late_secret(api, folder)
            check_tokens(api)
            check_end(api)
            gateway.terminate()
            assert gateway.wait(30) == 0
            print(f"{len(objects)} objects admitted; a Secret was in use {seconds:.1f} s after it came")
        except (Failure, AssertionError, urllib.error.HTTPError) as failure:
            for log in ("cluster.log", "gateway.log"):
                lines = (folder / log).read_text(errors="replace").splitlines() if (folder / log).exists() else []
                print(f"--- {log}", *lines[-40:], sep="\n", file=sys.stderr)
            if isinstance(failure, urllib.error.HTTPError):
                print(failure.read().decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            if gateway and gateway.poll() is None:
                gateway.kill()


if __name__ == "__main__":
    main()
