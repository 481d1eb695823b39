//! Resolves `[kubernetes]`.

use std::collections::BTreeMap;

use super::access::HttpServer;
use super::backend::{self, Urls};
use super::conflicts::refuse;
use super::faults::{Draft, Faults};
use super::names::ServiceName;
use super::reader::{Scope, read, unknown_keys};
use super::report::FaultCode;
use super::settings::KubernetesSettings;
use super::value;

pub(super) fn kubernetes(scope: Option<&Scope<'_>>, faults: &mut Faults) -> KubernetesSettings {
    let mut kubernetes = KubernetesSettings::default();
    let Some(scope) = scope else {
        return kubernetes;
    };
    unknown_keys(scope, faults);
    if let Some(controller) = read(scope, "controller", faults, |v, _| value::switch(v)) {
        kubernetes.controller = controller;
    }
    if let Some(instance) = read(scope, "instance", faults, |v, _| {
        value::label::<ServiceName>(v)
    }) {
        kubernetes.instance = instance;
    }
    kubernetes.namespace = read(scope, "namespace", faults, |v, _| value::label(v));
    let ca = read(scope, "ca", faults, value::path);
    if scope.entry("api_server").is_none() {
        let why = "is only for an `api_server` that is written";
        refuse(scope, "ca", why, faults);
    }
    let url = backend::url(scope, "api_server", Urls::TlsBeyondThisMachine, faults);
    kubernetes.api_server = url.map(|url| HttpServer {
        url,
        ca,
        client_certificate: None,
        headers: BTreeMap::new(),
    });
    kubernetes.token_file = read(scope, "token_file", faults, value::path);
    if kubernetes.controller
        && !cfg!(feature = "kube")
        && let Some(entry) = scope.entry("controller")
    {
        let message = "this program was built without the controller";
        faults.push(
            Draft::error(FaultCode::Conflict, entry.node.at, message)
                .key(scope.path_of("controller"))
                .hint("use the program of the container image, which has it"),
        );
    }
    kubernetes
}
