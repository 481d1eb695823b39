"""The gateway against a real API server and its database, in a network namespace of their own: see scripts/kube-e2e.

The bundle is applied as it is committed, so a right that is missing shows, and the gateway starts with the configuration in it and
finds its cluster as a pod does: by variables and by a folder with a token that is bound to its pod. A token of an API server is
good for ten minutes at least, so nothing here waits for the end of one.
"""

import argparse
import base64
import json
import os
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
# Where pods find the API server: the first address of services. It is its own here, as nothing leads from one to the other.
SERVICE = "10.43.0.1"
ADMIN = "admin-token"
OWN, ORIGINAL = "mqttbroker.fieldgate.io", "mqttbroker.iotoperations.azure.com"
GROUP = f"/apis/{OWN}/v1/namespaces/fieldgate"
ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE = 120
# Where every pod has it.
MEANS = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
        request = urllib.request.Request(f"https://{ADDRESS}{path}", method=method)
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

    def condition(self, name, kind, status, reason, group=GROUP):
        """Waits until a condition of a listener is so."""
        path = f"{group}/brokerlisteners/{name}"

        def holds():
            found = self.find(path) or {}
            conditions = found.get("status", {}).get("conditions", [])
            return [one for one in conditions if (one["type"], one["status"], one["reason"]) == (kind, status, reason)]

        try:
            return until(f"{kind} {status} {reason} of {name}", holds)
        except Failure as failure:
            raise Failure(f"{failure}; it has {(self.find(path) or {}).get('status')}") from None


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
    run("ip", "addr", "add", f"{SERVICE}/32", "dev", "cbr0")
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
            api_server, f"--etcd-servers={client}", f"--cert-dir={folder}/pki", "--bind-address=0.0.0.0",
            f"--advertise-address={ADDRESS}", "--secure-port=443", f"--service-account-issuer={issuer}",
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


def token_of(api, namespace, name, audience=None, pod=None, seconds=3607):
    body = {"spec": {"expirationSeconds": seconds}}
    if audience:
        body["spec"]["audiences"] = [audience]
    if pod:
        metadata = pod["metadata"]
        body["spec"]["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    return api.call("POST", path, body)["status"]["token"]


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(data)) + data


def number(value):
    """A length as packets have it."""
    encoded = b""
    while True:
        value, digit = divmod(value, 128)
        encoded += bytes([digit | (0x80 if value else 0)])
        if not value:
            return encoded


ADDRESSES = (f"127.0.{high}.{low}" for high in range(1, 255) for low in range(1, 255))


class Client:
    """As much of a client as is needed, of MQTT 3.1.1 or 5."""

    def __init__(self, port, context=None, name=None):
        # Each has an address of its own, as pods have: one address that fails ten times is banned.
        self.stream = socket.create_connection(("127.0.0.1", port), 10, (next(ADDRESSES), 0))
        self.stream.settimeout(30)
        if context:
            self.stream = context.wrap_socket(self.stream, server_hostname=name)

    def close(self):
        self.stream.close()

    def send(self, kind, body):
        self.stream.sendall(bytes([kind]) + number(len(body)) + body)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.stream.recv(count - len(data))
            if not more:
                raise Failure("the connection has ended")
            data += more
        return data

    def receive(self):
        kind, length, shift = self.exactly(1)[0], 0, 0
        while True:
            digit = self.exactly(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return kind, self.exactly(length)

    def connect(self, client_id, username=None, password=None):
        """The code of CONNACK of MQTT 3.1.1."""
        flags, payload = 2, text(client_id)
        if username:
            flags |= 0xC0
            payload += text(username) + text(password)
        self.send(0x10, text("MQTT") + bytes([4, flags]) + struct.pack("!H", 30) + payload)
        return self.receive()[1][1]

    def connect_with_token(self, client_id, token):
        """The code of CONNACK of MQTT 5, by enhanced authentication."""
        properties = b"\x15" + text("K8S-SAT") + b"\x16" + text(token)
        head = text("MQTT") + bytes([5, 2]) + struct.pack("!H", 30) + number(len(properties)) + properties
        self.send(0x10, head + text(client_id))
        return self.receive()[1][1]

    def authenticate_again(self, token):
        """What AUTH is answered with: kind and code. Nothing but success keeps the connection."""
        properties = b"\x15" + text("K8S-SAT") + b"\x16" + text(token)
        self.send(0xF0, b"\x19" + number(len(properties)) + properties)
        kind, body = self.receive()
        return kind, body[0] if body else 0

    def publish(self, topic):
        """The code of PUBACK of MQTT 5."""
        self.send(0x32, text(topic) + b"\x00\x01\x00x")
        kind, body = self.receive()
        assert kind == 0x40, (kind, body)
        return body[2] if len(body) > 2 else 0

    def ping(self):
        self.send(0xC0, b"")
        assert self.receive() == (0xD0, b"")


def connect(port, *credentials):
    client = Client(port)
    try:
        return client.connect(*credentials)
    finally:
        client.close()


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def listener(ports, **more):
    return {"apiVersion": f"{OWN}/v1", "kind": "BrokerListener", "spec": {"ports": ports, **more}}


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
    found = listener([{"port": 8884, "tls": tls}], serviceType="NodePort")
    api.apply(path, {**found, "metadata": {"name": "secure"}})
    api.condition("secure", "Ready", "False", "SecretNotFound")
    assert not is_open(8884)
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
    with socket.create_connection(("127.0.0.1", 8884)) as client, context.wrap_socket(client, server_hostname="localhost"):
        pass
    return time.monotonic() - begin


def default_listener(group):
    """The listener that every cluster broker has, in the namespace of the bundle."""
    found = yaml.safe_load((ROOT / "tests/aio/listener-default.yaml").read_text())
    found["apiVersion"] = f"{group}/v1"
    found["metadata"]["namespace"] = "fieldgate"
    return found


def check_default(api, folder, group):
    """It takes the place of the one in the file, and pods connect to it with their tokens."""
    place = f"/apis/{group}/v1/namespaces/fieldgate"
    path = f"{place}/brokerlisteners/default"
    service = "/api/v1/namespaces/fieldgate/services/aio-broker"
    before = api.find(service)["metadata"]["uid"]
    api.apply(path, default_listener(group))
    api.condition("default", "Accepted", "True", "Accepted", place)
    api.condition("default", "Ready", "True", "Listening", place)
    found = api.find(service)["spec"]
    assert (found["type"], found["ports"][0]["port"]) == ("ClusterIP", 18883), found
    assert found["clusterIP"].startswith("10.43."), found
    context = ssl.create_default_context(cafile=folder / "state/ca/trust.pem")
    check_pods(api, lambda: Client(18883, context, "aio-broker.fieldgate.svc"))
    api.call("DELETE", path)
    # The audience is one that the file takes and the resource does not.
    good = token_of(api, "default", "press", "fieldgate")

    def is_taken():
        try:
            return Client(18883, context, "aio-broker.fieldgate.svc").connect_with_token("pod-5", good) == 0
        except (OSError, Failure):
            return False

    until("the listener of the file", is_taken)
    assert api.find(service)["metadata"]["uid"] == before, "the service stays"


def check_pods(api, opened):
    """Tokens by enhanced authentication, in the beginning and again."""
    good = lambda: token_of(api, "default", "press", "aio-internal")
    client = opened()
    assert client.connect_with_token("pod-1", good()) == 0
    client.ping()
    assert opened().connect_with_token("pod-2", token_of(api, "default", "press", "fieldgate")) == 0x87
    assert opened().connect_with_token("pod-2", "nonsense") == 0x87
    assert client.authenticate_again(good()) == (0xF0, 0)
    client.ping()
    other = opened()
    assert other.connect_with_token("pod-3", good()) == 0
    kind, code = other.authenticate_again(token_of(api, "default", "press", "elsewhere"))
    assert (kind, code) == (0xE0, 0x87), "it ends where the new token is no good"
    client.close()


def check_original_group(api, folder):
    """Its definitions come later than the gateway, as when the original was there before."""
    text = (ROOT / "k3s/crds.yaml").read_text().replace(OWN, ORIGINAL)
    for found in yaml.safe_load_all(text):
        api.apply(path_of(found), found)
    until("the definitions", lambda: api.status("GET", f"/apis/{ORIGINAL}/v1/namespaces/fieldgate/brokerlisteners") == 200)
    check_default(api, folder, ORIGINAL)


def check_tokens(api):
    for name, more in (("press", {"annotations": {"aio-broker-auth/floor": "1"}}), ("guest", {})):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **more}}
        api.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    rule = {
        "principals": {"attributes": [{"floor": "1"}]},
        "brokerResources": [{"method": "Connect"}, {"method": "Publish", "topics": ["floors/{principal.attributes.floor}/#"]}],
    }
    found = {"apiVersion": f"{OWN}/v1", "kind": "BrokerAuthorization", "metadata": {"name": "floors"}}
    api.apply(f"{GROUP}/brokerauthorizations/floors", {**found, "spec": {"authorizationPolicies": {"rules": [rule]}}})
    path = f"{GROUP}/brokerlisteners/tokens"
    port = {"port": 1884, "authenticationRef": "default", "authorizationRef": "floors"}
    api.apply(path, {**listener([port], serviceType="LoadBalancer"), "metadata": {"name": "tokens"}})
    api.condition("tokens", "Ready", "True", "Listening")
    good = token_of(api, "default", "press", "aio-internal")
    assert connect(1884, "pod-1", "K8S-SAT", good) == 0
    assert connect(1884, "pod-2", "K8S-SAT", token_of(api, "default", "press", "elsewhere")) == 5
    assert connect(1884, "pod-2", "K8S-SAT", "nonsense") == 5
    client = Client(1884)
    assert client.connect_with_token("pod-3", good) == 0
    # Taken, though nobody is there to receive it.
    assert client.publish("floors/1/state") == 0x10, "by the annotation"
    assert client.publish("floors/2/state") == 0x87
    assert Client(1884).connect_with_token("pod-4", token_of(api, "default", "guest", "aio-internal")) == 0x87


def check_closing(api):
    """Of ClusterIP there is one, so this one makes room for those that follow."""
    api.call("DELETE", f"{GROUP}/brokerlisteners/plain")
    until("the port closes", lambda: not is_open(1883))
    # There is no garbage collector here.
    until("the service goes", lambda: api.find("/api/v1/namespaces/fieldgate/services/plain") is None)


def check_others(api):
    """What has come and gone has touched nobody else."""
    assert connect(1884, "pod-3", "K8S-SAT", token_of(api, "default", "press", "aio-internal")) == 0


def make_pod(api, namespace, name, template):
    """A pod that no kubelet runs, so its token is asked for here."""
    # The controller that makes the Secret which an API server of this age mounts is not here.
    spec = {**template["spec"], "automountServiceAccountToken": False}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), "name": name}, "spec": spec}
    return api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)


def check_projected_token(api, folder):
    """That of a volume of a pod, which ends with its pod, at the listener of the file."""
    projected = {"serviceAccountToken": {"audience": "fieldgate", "expirationSeconds": 3607, "path": "token"}}
    container = {"name": "press", "image": "press", "volumeMounts": [{"name": "token", "mountPath": "/token"}]}
    volume = {"name": "token", "projected": {"sources": [projected]}}
    spec = {"serviceAccountName": "press", "containers": [container], "volumes": [volume]}
    pod = make_pod(api, "default", "press-0", {"spec": spec})
    context = ssl.create_default_context(cafile=folder / "state/ca/trust.pem")
    # What is said of one is kept, so each is asked about once. Of one length of life those of one second would be the same.
    tokens = [token_of(api, "default", "press", "fieldgate", pod, 3607 + more) for more in range(20)]
    opened = lambda: Client(18883, context, "aio-broker.fieldgate.svc")
    client = opened()
    assert client.connect_with_token("pod-6", tokens.pop()) == 0
    client.ping()
    api.call("DELETE", "/api/v1/namespaces/default/pods/press-0?gracePeriodSeconds=0")
    until("its pod has gone", lambda: opened().connect_with_token("pod-7", tokens.pop()) == 0x87)


def start_gateway(api, folder, binary, objects):
    """As its pod starts it: with the ConfigMap of the bundle, and with what a kubelet gives to every pod."""
    of = lambda kind: [found for found in objects if found["kind"] == kind]
    [deployment] = of("Deployment")
    template = deployment["spec"]["template"]
    assert template["spec"]["automountServiceAccountToken"], "it has the folder"
    pod = make_pod(api, "fieldgate", "fieldgate-0", template)
    run("mount", "-t", "tmpfs", "tmpfs", os.path.realpath("/var/run"))
    MEANS.mkdir(parents=True)
    (MEANS / "token").write_text(token_of(api, "fieldgate", template["spec"]["serviceAccountName"], pod=pod))
    (MEANS / "ca.crt").write_bytes((folder / "pki/apiserver.crt").read_bytes())
    (MEANS / "namespace").write_text("fieldgate")
    [config] = of("ConfigMap")
    (folder / "config").mkdir()
    for name, content in config["data"].items():
        (folder / "config" / name).write_text(content)
    server = until("the service of the API server", lambda: api.find("/api/v1/namespaces/default/services/kubernetes"))["spec"]
    assert server["clusterIP"] == SERVICE, server
    means = {"KUBERNETES_SERVICE_HOST": SERVICE, "KUBERNETES_SERVICE_PORT": str(server["ports"][0]["port"])}
    log = open(folder / "gateway.log", "w", encoding="utf-8")
    command = [binary, "serve", "--config", folder / "config/gateway.toml", "--state-dir", folder / "state"]
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **means})


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
            objects = list(yaml.safe_load_all((ROOT / "k3s/fieldgate.yaml").read_text()))
            for found in objects:
                api.apply(path_of(found), found)
            until("the definitions", lambda: api.status("GET", f"{GROUP}/brokerlisteners") == 200)
            gateway = start_gateway(api, folder, arguments.binary, objects)
            check_definitions(api)
            check_listeners(api)
            seconds = check_late_secret(api, folder)
            check_tokens(api)
            check_projected_token(api, folder)
            check_closing(api)
            check_default(api, folder, OWN)
            check_original_group(api, folder)
            check_others(api)
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
