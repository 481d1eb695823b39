//! The objects that the controller makes of a plan.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::cache::{Object, metadata};
use super::collection::{Group, LISTENER_LABEL, OWN_VERSION, group_name};
use super::plan::{Key, Plan};
use crate::config::ListenerSettings;
use crate::import::WantedCertificate;
use crate::kubernetes::{reachable, selector, service_name, service_spec};

/// An object and where it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    /// The resources that it is made for.
    pub(super) owners: Vec<Key>,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) object: Value,
}

/// What is the same in all of them.
pub(super) struct Place<'p> {
    pub(super) namespace: &'p str,
    pub(super) instance: &'p str,
}

impl Place<'_> {
    /// The service of a listener; `None` where no port of it is reached from outside of the pod.
    pub(super) fn service(
        &self,
        owner: (&Key, &Object),
        listener: &ListenerSettings,
    ) -> Option<Manifest> {
        let name = service_name(listener).to_owned();
        let spec = service_spec(listener, selector(self.instance))?;
        let mut metadata = self.metadata(&name, &[owner]);
        metadata["labels"][LISTENER_LABEL] = json!(listener.name.as_str());
        Some(Manifest {
            owners: keys(&[owner]),
            path: format!("/api/v1/namespaces/{}/services/{name}", self.namespace),
            object: json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": spec,
            }),
            name,
        })
    }

    /// Lets everybody reach the ports of all listeners.
    pub(super) fn network_policy(
        &self,
        owners: &[(&Key, &Object)],
        plan: &Plan,
    ) -> Option<Manifest> {
        let listeners = plan
            .settings
            .iter()
            .flat_map(|settings| &settings.listeners);
        let mut ports: Vec<u16> = listeners
            .flat_map(|listener| reachable(listener).map(|(_, number)| number))
            .collect();
        ports.sort_unstable();
        if owners.is_empty() {
            return None;
        }
        let ports: Vec<Value> = ports
            .into_iter()
            .map(|port| json!({"protocol": "TCP", "port": port}))
            .collect();
        // A rule without ports would be one for all of them.
        let ingress = match ports.is_empty() {
            true => json!([]),
            false => json!([{"ports": ports}]),
        };
        let name = format!("{}-listeners", self.instance);
        Some(Manifest {
            owners: keys(owners),
            path: format!(
                "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/{name}",
                self.namespace
            ),
            object: json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": self.metadata(&name, owners),
                "spec": {
                    "podSelector": {"matchLabels": selector(self.instance)},
                    "policyTypes": ["Ingress"],
                    "ingress": ingress,
                },
            }),
            name,
        })
    }

    /// A certificate of cert-manager, which brings the Secret that a port then has as if by hand.
    pub(super) fn certificate(
        &self,
        owners: &[(&Key, &Object)],
        wanted: &WantedCertificate,
    ) -> Manifest {
        let mut spec = json!({
            "secretName": wanted.secret,
            "dnsNames": wanted.dns,
            "usages": ["digital signature", "key encipherment", "server auth"],
            "issuerRef": {
                "name": wanted.issuer,
                "kind": wanted.issuer_kind,
                "group": wanted.issuer_group,
            },
        });
        if !wanted.ip.is_empty() {
            spec["ipAddresses"] = json!(wanted.ip);
        }
        let [duration, renew_before] = &wanted.times;
        for (key, value) in [("duration", duration), ("renewBefore", renew_before)] {
            if let Some(value) = value {
                spec[key] = json!(value);
            }
        }
        let mut key = Map::new();
        if let Some((algorithm, size)) = wanted.algorithm.map(private_key) {
            key.insert("algorithm".to_owned(), json!(algorithm));
            if let Some(size) = size {
                key.insert("size".to_owned(), json!(size));
            }
        }
        key.insert(
            "rotationPolicy".to_owned(),
            json!(wanted.rotation_policy.unwrap_or("Always")),
        );
        spec["privateKey"] = Value::Object(key);
        let name = wanted.secret.clone();
        Manifest {
            owners: keys(owners),
            path: format!("{}/{name}", certificates_path(self.namespace)),
            object: json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": self.metadata(&name, owners),
                "spec": spec,
            }),
            name,
        }
    }

    /// Metadata of an object that goes when all its owners have gone.
    fn metadata(&self, name: &str, owners: &[(&Key, &Object)]) -> Value {
        let owners: Vec<Value> = owners
            .iter()
            .filter_map(|(key, object)| owner_reference(key, object))
            .collect();
        let mut labels = selector(self.instance);
        labels["app.kubernetes.io/managed-by"] = json!("fieldgate");
        json!({
            "name": name,
            "namespace": self.namespace,
            "labels": labels,
            "ownerReferences": owners,
        })
    }
}

/// Where the Certificates of cert-manager are.
pub(super) fn certificates_path(namespace: &str) -> String {
    format!("/apis/cert-manager.io/v1/namespaces/{namespace}/certificates")
}

/// Algorithm and size as cert-manager has them.
fn private_key(word: &str) -> (&'static str, Option<u32>) {
    match word {
        "Ec384" => ("ECDSA", Some(384)),
        "Ec521" => ("ECDSA", Some(521)),
        "Ed25519" => ("Ed25519", None),
        "Rsa2048" => ("RSA", Some(2048)),
        "Rsa4096" => ("RSA", Some(4096)),
        "Rsa8192" => ("RSA", Some(8192)),
        _ => ("ECDSA", Some(256)),
    }
}

/// What tells objects that this controller has made from all others, as a condition of a list.
pub(super) fn made_by(instance: &str) -> String {
    format!("app.kubernetes.io/instance={instance},app.kubernetes.io/managed-by=fieldgate")
}

/// Whether an object is one that this controller has made, and not one that was rendered for the file.
pub(super) fn is_made_by(instance: &str, object: &Value) -> bool {
    let label = |name: &str| object.pointer(&format!("/metadata/labels/app.kubernetes.io~1{name}"));
    label("instance").is_some_and(|label| label == instance)
        && label("managed-by").is_some_and(|label| label == "fieldgate")
}

/// Whether a service leads where another one would: by type, pods and ports. Names of ports are nobody's business.
pub(super) fn leads_as(found: &Value, wanted: &Value) -> bool {
    let kind = |service: &Value| match service.pointer("/spec/type").and_then(Value::as_str) {
        Some(kind) => kind.to_owned(),
        None => "ClusterIP".to_owned(),
    };
    let list = |service: &Value| {
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        ports.cloned().unwrap_or_default()
    };
    let is_port = |found: &Value, wanted: &Value| {
        let number = found.get("port");
        let protocol = found.get("protocol").and_then(Value::as_str);
        number == wanted.get("port")
            && protocol.unwrap_or("TCP") == "TCP"
            && found.get("targetPort").or(number) == wanted.get("targetPort")
            && wanted
                .get("nodePort")
                .is_none_or(|port| found.get("nodePort") == Some(port))
    };
    let (found_ports, wanted_ports) = (list(found), list(wanted));
    kind(found) == kind(wanted)
        && found.pointer("/spec/selector") == wanted.pointer("/spec/selector")
        && found_ports.len() == wanted_ports.len()
        && wanted_ports
            .iter()
            .all(|wanted| found_ports.iter().any(|found| is_port(found, wanted)))
}

/// Whether an object belongs to resources, and all of them are among these, by their `uid`.
pub(super) fn is_of(uids: &BTreeSet<String>, object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array);
    owners.is_some_and(|owners| {
        let mut owners = owners.iter().map(|owner| owner.get("uid"));
        owners.len() > 0
            && owners.all(|uid| {
                uid.and_then(Value::as_str)
                    .is_some_and(|uid| uids.contains(uid))
            })
    })
}

fn keys(owners: &[(&Key, &Object)]) -> Vec<Key> {
    owners.iter().map(|(key, _)| Key::clone(key)).collect()
}

/// How an object says that it belongs to a resource.
fn owner_reference(key: &Key, object: &Object) -> Option<Value> {
    Some(json!({
        "apiVersion": api_version(key.group, object),
        "kind": key.kind.word(),
        "name": key.name,
        "uid": metadata(object, "uid")?,
    }))
}

/// `apiVersion` of a resource, which lists leave out.
pub(super) fn api_version(group: Group, object: &Value) -> String {
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(version) => version.to_owned(),
        None => format!("{}/{OWN_VERSION}", group_name(group)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::controller::collection::Kind;

    fn key(name: &str) -> Key {
        Key {
            kind: Kind::Listener,
            group: Group::Own,
            name: name.to_owned(),
        }
    }

    fn object(uid: &str) -> Object {
        Arc::new(json!({"apiVersion": "mqttbroker.fieldgate.io/v1", "metadata": {"uid": uid}}))
    }

    const PLACE: Place<'_> = Place {
        namespace: "plant",
        instance: "edge",
    };

    fn plan(text: &str) -> Plan {
        Plan {
            settings: Some(config::parse(text).unwrap()),
            ..Plan::default()
        }
    }

    #[test]
    fn a_service_leads_to_the_pod_and_belongs_to_its_listener() {
        let plan = plan(
            "[[listener]]\nname = \"outside\"\nservice_type = \"NodePort\"\nservice_name = \"mqtt\"\n\
             [[listener.port]]\nport = 1883\nnode_port = 31883\nauthentication = \"none\"\nauthorization = \"none\"\n",
        );
        let listener = &plan.settings.as_ref().unwrap().listeners[0];
        let (key, object) = (key("outside"), object("u1"));
        let service = PLACE.service((&key, &object), listener).unwrap();
        assert_eq!(service.path, "/api/v1/namespaces/plant/services/mqtt");
        let metadata = &service.object["metadata"];
        assert_eq!(metadata["labels"][LISTENER_LABEL], "outside");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "edge");
        assert!(is_made_by("edge", &service.object) && !is_made_by("other", &service.object));
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u1");
        assert_eq!(
            metadata["ownerReferences"][0]["apiVersion"],
            "mqttbroker.fieldgate.io/v1"
        );
        let spec = &service.object["spec"];
        assert_eq!(spec["selector"]["app.kubernetes.io/instance"], "edge");
        assert_eq!(spec["ports"][0]["nodePort"], 31883);
        assert_eq!(spec["ports"][0]["protocol"], "TCP");

        let policy = PLACE.network_policy(&[(&key, &object)], &plan).unwrap();
        let ingress = &policy.object["spec"]["ingress"];
        assert_eq!(
            ingress[0]["ports"],
            json!([{"protocol": "TCP", "port": 1883}])
        );
    }

    #[test]
    fn a_service_of_somebody_else_may_do_the_same() {
        let plan = plan(
            "[[listener]]\nname = \"inside\"\n[[listener.port]]\nport = 1883\nauthentication = \"none\"\nauthorization = \"none\"\n",
        );
        let listener = &plan.settings.as_ref().unwrap().listeners[0];
        let (key, object) = (key("inside"), object("u1"));
        let wanted = PLACE.service((&key, &object), listener).unwrap().object;
        let mut found = json!({"spec": {
            "clusterIP": "10.43.0.1",
            "selector": wanted["spec"]["selector"],
            "ports": [{"name": "mqtt", "port": 1883}],
        }});
        assert!(leads_as(&found, &wanted));
        for (pointer, value) in [
            ("/spec/ports/0/port", json!(1884)),
            ("/spec/ports/0/name", json!("x")),
            ("/spec/selector/app.kubernetes.io~1instance", json!("other")),
            ("/spec/clusterIP", json!("10.43.0.2")),
        ] {
            let mut changed = found.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let is_told = pointer.ends_with("name") || pointer.ends_with("IP");
            assert_eq!(leads_as(&changed, &wanted), is_told, "{pointer}");
        }
        for (key, value) in [
            ("targetPort", json!(1884)),
            ("targetPort", json!("mqtt")),
            ("protocol", json!("UDP")),
        ] {
            let mut changed = found.clone();
            changed["spec"]["ports"][0][key] = value;
            assert!(!leads_as(&changed, &wanted), "{key}");
        }
        found["spec"]["type"] = json!("NodePort");
        assert!(!leads_as(&found, &wanted));
    }

    #[test]
    fn without_ports_nobody_is_let_in() {
        let (key, object) = (key("outside"), object("u1"));
        let policy = PLACE.network_policy(&[(&key, &object)], &Plan::default());
        assert_eq!(policy.unwrap().object["spec"]["ingress"], json!([]));
        assert!(PLACE.network_policy(&[], &Plan::default()).is_none());
    }

    #[test]
    fn what_belongs_to_somebody_who_is_not_here_is_not_left_over() {
        let here = BTreeSet::from(["u1".to_owned(), "u2".to_owned()]);
        for (owners, is_left_over) in [
            (json!([{"uid": "u1"}]), true),
            (json!([{"uid": "u1"}, {"uid": "u2"}]), true),
            (json!([{"uid": "u1"}, {"uid": "u3"}]), false),
            (json!([{"name": "u1"}]), false),
            (json!([]), false),
            (Value::Null, false),
        ] {
            let object = json!({"metadata": {"ownerReferences": owners}});
            assert_eq!(is_of(&here, &object), is_left_over, "{object}");
        }
    }

    #[test]
    fn keys_are_as_cert_manager_has_them() {
        assert_eq!(private_key("Ec256"), ("ECDSA", Some(256)));
        assert_eq!(private_key("Rsa8192"), ("RSA", Some(8192)));
        assert_eq!(private_key("Ed25519"), ("Ed25519", None));
    }
}
