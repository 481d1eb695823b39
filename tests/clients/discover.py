"""Run by test_discovery.py with python-zeroconf, in the network of a machine: watches, looks up, or takes a name."""

import ipaddress
import json
import sys
import threading

from zeroconf import InterfaceChoice, IPVersion, ServiceBrowser, ServiceInfo, Zeroconf

TYPES = ["_mqtt._tcp.local.", "_secure-mqtt._tcp.local."]


LOCK = threading.Lock()


def say(**what):
    with LOCK:
        print(json.dumps(what), flush=True)


def watch(zeroconf):
    def changed(zeroconf, service_type, name, state_change):
        found = {"event": state_change.name, "name": name}
        if state_change.name != "Removed":
            # Not from this thread, which has to take the answers.
            threading.Thread(target=look, args=(zeroconf, service_type, name, found)).start()
        else:
            say(**found)

    return ServiceBrowser(zeroconf, TYPES, handlers=[changed])


def look(zeroconf, service_type, name, found):
    info = ServiceInfo(service_type, name)
    if info.request(zeroconf, 20_000):
        texts = {key.decode(): value.decode() for key, value in info.properties.items()}
        addresses = info.parsed_addresses(IPVersion.V4Only)
        say(**found, port=info.port, host=info.server, addresses=addresses, texts=texts)
    else:
        say(**found, unresolved=True)


def claim(zeroconf, instance, host, address):
    packed = [ipaddress.ip_address(address).packed]
    info = ServiceInfo(TYPES[0], f"{instance}.{TYPES[0]}", 1, addresses=packed, server=f"{host}.local.")
    zeroconf.register_service(info)
    say(event="Claimed")


def main():
    what, interface, *arguments = sys.argv[1:]
    interfaces = InterfaceChoice.All if interface == "all" else [interface]
    zeroconf = Zeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
    browser = watch(zeroconf) if what == "watch" else claim(zeroconf, *arguments)
    say(event="Started")
    sys.stdin.read()
    if browser:
        browser.cancel()
    zeroconf.close()


if __name__ == "__main__":
    main()
