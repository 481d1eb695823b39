//! From what a mosquitto.conf says to the text of a configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::MosquittoOptions;
use super::acl::Acl;
use super::conf::{At, Conf, Listener, LogLevel};
use super::plans::{AuthenticationPlan, AuthorizationPlan, Named};
use super::plugin::PluginPlan;
use super::report::{ImportReport, Spot, Verdict, shown};
use super::text::{comment, quote};
use crate::config::{self, MountPoint};

/// Port of health and metrics by default.
const ADMIN_PORT: u16 = 9600;

/// Writes the configuration and reports what became of listeners, files and plug-ins.
pub(super) fn write(
    path: &Path,
    conf: &Conf,
    options: &MosquittoOptions,
    report: &mut ImportReport,
) -> String {
    let mut writing = Writing {
        path,
        conf,
        options,
        report,
        authentications: Named::default(),
        authorizations: Named::default(),
        plugins: Vec::new(),
        acls: Vec::new(),
        ports: Vec::new(),
        numbers: Vec::new(),
    };
    writing.ports();
    writing.bridges();
    writing.render()
}

pub(super) struct Writing<'a> {
    pub(super) path: &'a Path,
    pub(super) conf: &'a Conf,
    pub(super) options: &'a MosquittoOptions,
    pub(super) report: &'a mut ImportReport,
    authentications: Named<AuthenticationPlan>,
    authorizations: Named<AuthorizationPlan>,
    /// Plug-ins that were translated, by the line that names them.
    pub(super) plugins: Vec<(Spot, PluginPlan)>,
    /// Files of rules that were translated, each for its mount point.
    pub(super) acls: Vec<(PathBuf, Option<MountPoint>, Option<Acl>)>,
    ports: Vec<String>,
    numbers: Vec<u16>,
}

impl Writing<'_> {
    fn ports(&mut self) {
        let conf = self.conf;
        let is_local = conf.listeners.is_empty()
            && conf.default_listener.port.is_none()
            && conf.default_listener.host.is_none();
        if conf.default_listener.is_described() || conf.listeners.is_empty() {
            let mut listener = conf.default_listener.clone();
            listener.port = listener.port.or(Some(1883));
            if is_local {
                listener.host = Some(At {
                    value: "127.0.0.1".to_owned(),
                    spot: listener.spot,
                });
            }
            self.port(&listener, is_local);
        }
        for listener in &conf.listeners {
            self.port(listener, false);
        }
    }

    /// Adds the port of a listener, or says why there is none.
    fn port(&mut self, listener: &Listener, is_local: bool) {
        let verdict = match self.try_port(listener, is_local) {
            Ok(into) => Verdict::Translated { into },
            Err(why) => Verdict::NoEquivalent {
                why: format!("{why}; the port is left out"),
            },
        };
        if !listener.line.is_empty() {
            self.report
                .note(listener.spot, listener.line.clone(), verdict);
        }
    }

    fn try_port(&mut self, listener: &Listener, is_local: bool) -> Result<String, String> {
        if let Some(why) = &listener.refused {
            return Err(why.clone());
        }
        let mount_point = self.mount_point(listener)?;
        let tls = tls_of(listener)?;
        let place = self.place(listener)?;
        let (authentication, authorization) = self.access(listener, mount_point.as_ref(), is_local);
        let text = |authentication: &str, authorization: &str| {
            self.port_text(
                listener,
                [&place, &tls, authentication, authorization],
                mount_point.as_ref(),
            )
        };
        accepts(&text("none", "none"))?;
        let label = match listener.port {
            Some(port) => format!("port-{port}"),
            None => "socket".to_owned(),
        };
        let authentication = match authentication {
            Some(plan) => {
                accepts(&format!(
                    "{EXAMPLE_PORT}authentication = \"x1\"\nauthorization = \"none\"\n{}",
                    plan.render("x1")
                ))?;
                self.authentications.name(plan, &label)
            }
            None => "none".to_owned(),
        };
        let authorization = match authorization {
            Some(plan) => {
                accepts(&format!(
                    "{EXAMPLE_PORT}authentication = \"none\"\nauthorization = \"x1\"\n{}",
                    plan.render("x1")
                ))?;
                self.authorizations.name(plan, &label)
            }
            None => "none".to_owned(),
        };
        let text = self.port_text(
            listener,
            [&place, &tls, &authentication, &authorization],
            mount_point.as_ref(),
        );
        self.numbers.extend(listener.port);
        self.ports.push(text);
        Ok(place.trim().replace('\n', ", "))
    }

    /// A port as it stands in the file; `[place, tls, authentication, authorization]` are parts that are known already.
    fn port_text(
        &self,
        listener: &Listener,
        [place, tls, authentication, authorization]: [&str; 4],
        mount_point: Option<&MountPoint>,
    ) -> String {
        let line = if listener.line.is_empty() {
            "What mosquitto opens where no listener is written.".to_owned()
        } else {
            format!("{}: {}", self.report.place(listener.spot), listener.line)
        };
        let mut text = comment(&line);
        text.push_str("\n[[listener.port]]\n");
        text.push_str(place);
        if listener.is_websocket {
            text.push_str("protocol = \"WebSockets\"\n");
        }
        text.push_str(&format!("authentication = {}\n", quote(authentication)));
        text.push_str(&format!("authorization = {}\n", quote(authorization)));
        text.push_str(tls);
        if let Some(mount_point) = mount_point {
            let levels = mount_point.as_str().trim_end_matches('/');
            text.push_str(&format!("mount_point = {}\n", quote(levels)));
        }
        if listener.proxy_protocol {
            text.push_str("proxy_protocol = true\n");
        }
        if !listener.limits.is_empty() {
            let limits: Vec<String> = listener
                .limits
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            text.push_str(&format!("limits = {{ {} }}\n", limits.join(", ")));
        }
        text
    }

    /// The lines that say where a port is.
    fn place(&mut self, listener: &Listener) -> Result<String, String> {
        if let Some(path) = &listener.socket {
            return Ok(format!("path = {}\n", quote(&path.display().to_string())));
        }
        let port = listener.port.unwrap_or(1883);
        if self.numbers.contains(&port) && port != 0 {
            return Err(format!(
                "the port number {port} is taken by another listener, and a number is used once in a file; leave out `bind` of that \
                 port to accept on every address, or choose another number"
            ));
        }
        let mut text = format!("port = {port}\n");
        let mut interface = listener.interface.clone();
        let bind = match (&listener.host, listener.socket_domain.as_deref()) {
            (Some(host), _) => {
                let (address, scope) = match host.value.split_once('%') {
                    Some((address, scope)) => (address, Some(scope.to_owned())),
                    None => (host.value.as_str(), None),
                };
                interface = interface.or(scope);
                Some(self.address(address, host.spot))
            }
            (None, Some("ipv4")) => Some("0.0.0.0".to_owned()),
            (None, Some("ipv6")) => Some("::".to_owned()),
            (None, _) => None,
        };
        if let Some(bind) = bind {
            text.push_str(&format!("bind = {}\n", quote(&bind)));
        }
        if let Some(interface) = interface {
            text.push_str(&format!("interface = {}\n", quote(&interface)));
        }
        Ok(text)
    }

    /// An address to accept on. Names are not looked up, so a port with another name stays on this machine.
    fn address(&mut self, host: &str, spot: Spot) -> String {
        if host.parse::<IpAddr>().is_ok() {
            return host.to_owned();
        }
        if host != "localhost" {
            let how = format!(
                "`{host}` is a name, and names are not looked up: the port accepts on 127.0.0.1 until you write the address"
            );
            self.report
                .note(spot, shown("address", host), Verdict::Differs { how });
        }
        "127.0.0.1".to_owned()
    }

    fn mount_point(&mut self, listener: &Listener) -> Result<Option<MountPoint>, String> {
        let Some(At { value, spot }) = &listener.mount_point else {
            return Ok(None);
        };
        let line = shown("mount_point", value);
        match MountPoint::try_from(value.as_str()) {
            Ok(mount_point) => {
                let verdict = if value.ends_with('/') {
                    Verdict::Translated {
                        into: "mount_point; topics of rules are without it here".to_owned(),
                    }
                } else {
                    Verdict::Differs {
                        how: format!(
                            "a mount point is a whole level here: topics begin with {mount_point}"
                        ),
                    }
                };
                self.report.note(*spot, line, verdict);
                Ok(Some(mount_point))
            }
            Err(fault) => {
                let why = format!("the mount point {fault}");
                self.report
                    .note(*spot, line, Verdict::Bad { why: why.clone() });
                Err(why)
            }
        }
    }

    fn bridges(&mut self) {
        for bridge in &self.conf.bridges {
            let mut why = "there are no bridges yet; its settings, for later:".to_owned();
            for line in &bridge.lines {
                why.push_str("\n        ");
                why.push_str(line);
            }
            let line = shown("connection", &bridge.name);
            self.report
                .note(bridge.spot, line, Verdict::NoEquivalent { why });
        }
    }

    fn render(self) -> String {
        let mut text = comment(&format!(
            "Made from {} by `fieldgate import mosquitto`.",
            self.path.display()
        ));
        text.push_str("\n# Look at what was reported, then put this where the gateway reads it and run `fieldgate check`.\n\n");
        text.push_str("[[listener]]\nname = \"mosquitto\"\n\n");
        if self.ports.is_empty() {
            text.push_str(
                "# None of the listeners could be taken over. This port is for this machine, and for users that you add.\n\
                 [[listener.port]]\nport = 1883\nbind = \"127.0.0.1\"\nauthentication = \"users\"\nauthorization = \"none\"\n\n\
                 [authentication.users]\nmethods = [\"password\"]\n\n",
            );
        }
        for port in &self.ports {
            text.push_str(port);
            text.push('\n');
        }
        for (name, plan) in self.authentications.entries() {
            text.push_str(&plan.render(name));
        }
        for (name, plan) in self.authorizations.entries() {
            text.push_str(&plan.render(name));
        }
        if self.numbers.contains(&ADMIN_PORT) {
            text.push_str("# Port 9600, the default, belongs to clients.\n[admin]\nhttp = \"127.0.0.1:9601\"\n\n");
        }
        if let Some(level) = self.conf.log_level.filter(|level| *level != LogLevel::Info) {
            let level = match level {
                LogLevel::Error => "error",
                LogLevel::Warn => "warn",
                LogLevel::Info => "info",
                LogLevel::Debug => "debug",
            };
            text.push_str(&format!("[log]\nlevel = {}\n\n", quote(level)));
        }
        text.push_str("[limits]\n");
        if !self.conf.has_session_expiry {
            text.push_str(
                "# As in mosquitto, which keeps the sessions of clients that are away for ever. The default here is \"7 d\".\n\
                 max_session_expiry = \"unlimited\"\n",
            );
        }
        for (key, value) in &self.conf.limits {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}

/// A port for trying out what belongs to one.
const EXAMPLE_PORT: &str = "[[listener.port]]\nport = 1883\n\
     tls = { mode = \"Manual\", cert = \"/cert\", key = \"/key\" }\n";

/// Whether a part is right, tried out in a file of its own, so that one that is wrong costs no other.
fn accepts(part: &str) -> Result<(), String> {
    let text = format!("[[listener]]\nname = \"mosquitto\"\n{part}");
    match config::parse(&text) {
        Ok(_) => Ok(()),
        Err(report) => {
            let fault = report.errors().next();
            Err(fault.map_or_else(String::new, |fault| fault.message.clone()))
        }
    }
}

/// The line with the certificate of a port; nothing for plain text. What is half there must not become plain text.
fn tls_of(listener: &Listener) -> Result<String, String> {
    let tls = &listener.tls;
    let (cert, key) = match (&tls.certfile, &tls.keyfile) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None)
            if tls.require_certificate.is_none()
                && tls.cafile.is_none()
                && tls.capath.is_none() =>
        {
            return Ok(String::new());
        }
        _ => return Err("TLS needs both certfile and keyfile".to_owned()),
    };
    if tls.require_certificate.is_some() && tls.cafile.is_none() && tls.capath.is_none() {
        return Err("require_certificate needs cafile or capath".to_owned());
    }
    let version = if tls.is_1_3_only {
        ", min_version = \"1.3\""
    } else {
        ""
    };
    Ok(format!(
        "tls = {{ mode = \"Manual\", cert = {}, key = {}{version} }}\n",
        quote(&cert.display().to_string()),
        quote(&key.display().to_string())
    ))
}
