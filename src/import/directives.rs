//! What each directive of mosquitto.conf means.

use std::path::{Path, PathBuf};

use super::conf::{At, Bridge, Conf, Listener, LogLevel, Plugin, PluginOption, Security};
use super::lines::{Line, beside};
use super::report::{ImportReport, Verdict, shown};
use super::{limits, unknown};

/// Goes through the lines and collects what they say; what can be said about a line by itself is reported here.
pub(super) fn interpret(path: &Path, lines: &[Line], report: &mut ImportReport) -> Conf {
    let mut reading = Reading {
        path,
        conf: Conf::default(),
        listener: None,
        report,
    };
    // mosquitto wants it before everything that it is about; a file with another order is meant the same way.
    reading.conf.per_listener_settings = lines
        .iter()
        .any(|line| line.key == "per_listener_settings" && switch(&line.value) == Some(true));
    for line in lines {
        let verdict = reading.line(line);
        if let Some(verdict) = verdict {
            reading
                .report
                .note(line.spot, shown(&line.key, &line.value), verdict);
        }
    }
    reading.conf
}

pub(super) struct Reading<'a> {
    /// The main file.
    path: &'a Path,
    pub(super) conf: Conf,
    /// The listener that lines are about; `None` before the first.
    listener: Option<usize>,
    report: &'a mut ImportReport,
}

impl Reading<'_> {
    /// Takes one line. `None` if it is reported together with others.
    fn line(&mut self, line: &Line) -> Option<Verdict> {
        let (key, value) = (line.key.as_str(), line.value.as_str());
        if key == "connection" {
            self.conf.bridges.push(Bridge {
                spot: line.spot,
                name: value.to_owned(),
                lines: Vec::new(),
            });
            return None;
        }
        if unknown::is_of_bridge(key) {
            return match self.conf.bridges.last_mut() {
                Some(bridge) => {
                    bridge.lines.push(shown(key, value));
                    None
                }
                None => Some(bad("it belongs to a connection, and none is above it")),
            };
        }
        if let Some(name) = key
            .strip_prefix("auth_opt_")
            .or_else(|| key.strip_prefix("plugin_opt_"))
        {
            return self.plugin_option(line, name);
        }
        if let Some(verdict) = limits::gateway(&mut self.conf, key, value) {
            return Some(verdict);
        }
        if let Some(verdict) = unknown::without_equivalent(key, value) {
            return Some(verdict);
        }
        self.listener_line(line)
            .or_else(|| self.tls_line(line))
            .or_else(|| self.security_line(line))
            .unwrap_or_else(|| Some(bad("mosquitto has no such setting")))
    }

    /// Lines that say where and how a listener listens. The outer `None` is a line of another kind.
    fn listener_line(&mut self, line: &Line) -> Option<Option<Verdict>> {
        let value = line.value.as_str();
        match line.key.as_str() {
            "listener" => return Some(self.begin_listener(line)),
            "port" => {
                let Ok(port) = value.parse() else {
                    return Some(Some(bad("a port is a number from 1 to 65535")));
                };
                let listener = &mut self.conf.default_listener;
                listener.spot = line.spot;
                listener.line = shown("port", value);
                listener.port = Some(port);
                return Some(None);
            }
            "bind_address" => {
                self.conf.default_listener.host = Some(self.at(line, value.to_owned()));
                return Some(Some(into("bind")));
            }
            _ => {}
        }
        let at = self.at(line, value.to_owned());
        let listener = self.current();
        let verdict = match line.key.as_str() {
            "bind_interface" => {
                listener.interface = Some(value.to_owned());
                into("interface")
            }
            "socket_domain" => match value {
                "ipv4" | "ipv6" => {
                    listener.socket_domain = Some(value.to_owned());
                    into("bind")
                }
                _ => bad("it is ipv4 or ipv6"),
            },
            "protocol" => protocol(listener, value),
            "mount_point" => {
                listener.mount_point = Some(at);
                return Some(None);
            }
            "enable_proxy_protocol" => {
                listener.proxy_protocol = true;
                into("proxy_protocol = true")
            }
            "use_username_as_clientid" => match switch(value) {
                Some(is_on) => {
                    listener.client_id_is_username = is_on;
                    Verdict::Differs {
                        how: "client_id = \"username\": here the client has to send its user name as client identifier, \
                              another one is refused and not replaced"
                            .to_owned(),
                    }
                }
                None => not_a_switch(),
            },
            key => limits::port(listener, key, value)?,
        };
        Some(Some(verdict))
    }

    fn begin_listener(&mut self, line: &Line) -> Option<Verdict> {
        let mut listener = Listener {
            spot: line.spot,
            line: shown("listener", &line.value),
            ..Listener::default()
        };
        let (port, place) = match line.value.split_once([' ', '\t']) {
            Some((port, place)) => (port, Some(place.trim())),
            None => (line.value.as_str(), None),
        };
        let Ok(port) = port.parse::<u16>() else {
            listener.refused = Some("its port is no number from 0 to 65535".to_owned());
            self.listener = Some(self.conf.listeners.len());
            self.conf.listeners.push(listener);
            return Some(bad(
                "a listener has a port, and after it an address or the path of a socket",
            ));
        };
        match place {
            Some(path) if port == 0 => listener.socket = Some(beside(self.path, path)),
            place => {
                listener.port = Some(port);
                listener.host = place.map(|place| self.at(line, place.to_owned()));
            }
        }
        self.listener = Some(self.conf.listeners.len());
        self.conf.listeners.push(listener);
        None
    }

    fn tls_line(&mut self, line: &Line) -> Option<Option<Verdict>> {
        let path = beside(self.path, &line.value);
        let is_on = switch(&line.value);
        let spot = line.spot;
        let listener = self.current();
        let tls = &mut listener.tls;
        let verdict = match line.key.as_str() {
            "certfile" => set(&mut tls.certfile, path, "tls.cert"),
            "keyfile" => set(&mut tls.keyfile, path, "tls.key"),
            "cafile" => set(
                &mut tls.cafile,
                path,
                "x509.trust, where certificates of clients are asked for",
            ),
            "capath" => set(
                &mut tls.capath,
                path,
                "x509.trust, where certificates of clients are asked for",
            ),
            "crlfile" => set(&mut tls.crlfile, path, "x509.crls"),
            "tls_version" => match line.value.as_str() {
                "tlsv1.3" => {
                    tls.is_1_3_only = true;
                    into("tls.min_version = \"1.3\"")
                }
                "tlsv1.2" => into("tls.min_version = \"1.2\", which is the default"),
                "tlsv1" | "tlsv1.1" => Verdict::NoEquivalent {
                    why: "TLS before 1.2 is not spoken; update clients that know nothing newer"
                        .to_owned(),
                },
                _ => bad("it is tlsv1.2 or tlsv1.3"),
            },
            "require_certificate" => match is_on {
                Some(is_on) => {
                    tls.require_certificate = is_on.then_some(spot);
                    into(if is_on {
                        "the method x509"
                    } else {
                        "no method x509"
                    })
                }
                None => not_a_switch(),
            },
            "use_identity_as_username" | "use_subject_as_username" => match is_on {
                Some(true) => {
                    let is_subject = line.key == "use_subject_as_username";
                    let identity = if is_subject { "subject" } else { "common-name" };
                    tls.identity = Some(identity);
                    into(&format!("x509.identity = \"{identity}\""))
                }
                Some(false) => into("the default"),
                None => not_a_switch(),
            },
            "psk_hint" => {
                let why = "there is no TLS with keys that are known beforehand; give the clients certificates";
                listener.refused = Some(why.to_owned());
                Verdict::NoEquivalent {
                    why: format!("{why}. The listener is left out"),
                }
            }
            _ => return None,
        };
        Some(Some(verdict))
    }

    fn security_line(&mut self, line: &Line) -> Option<Option<Verdict>> {
        let value = line.value.as_str();
        let file = self.at(line, beside(self.path, value));
        let is_per_listener = line.key.starts_with("listener_");
        let verdict = match line.key.as_str() {
            "per_listener_settings" => match switch(value) {
                Some(true) => into("methods and rules of each port for itself"),
                Some(false) => into("the same methods and rules for all ports"),
                None => not_a_switch(),
            },
            "allow_anonymous" | "listener_allow_anonymous" => match switch(value) {
                Some(is_on) => {
                    let at = self.at(line, is_on);
                    self.security(is_per_listener).allow_anonymous = Some(at);
                    into(if is_on {
                        "the method anonymous, or authentication = \"none\" where nobody is checked"
                    } else {
                        "no method anonymous"
                    })
                }
                None => not_a_switch(),
            },
            "password_file" => {
                self.security(false).password_file = Some(file);
                into("the method password; the users are imported by the command below")
            }
            "acl_file" => {
                self.security(false).acl_file = Some(file);
                into("rules, see the lines of that file")
            }
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" => {
                // `plugin_load` gives the plug-in a name first.
                let path = match (line.key.as_str(), value.split_once(' ')) {
                    ("plugin_load", Some((_, path))) => path.trim(),
                    _ => value,
                };
                let plugin = Plugin {
                    spot: line.spot,
                    line: shown(&line.key, value),
                    path: path.to_owned(),
                    options: Vec::new(),
                };
                self.security(false).plugins.push(plugin);
                return Some(None);
            }
            "plugin_use" => Verdict::NotNeeded {
                why: "what the plug-in does is part of the port".to_owned(),
            },
            _ => return None,
        };
        Some(Some(verdict))
    }

    fn plugin_option(&mut self, line: &Line, name: &str) -> Option<Verdict> {
        let option = PluginOption {
            spot: line.spot,
            line: shown(&line.key, &line.value),
            name: name.to_owned(),
            value: line.value.clone(),
        };
        match self.security(false).plugins.last_mut() {
            Some(plugin) => {
                plugin.options.push(option);
                None
            }
            None => Some(bad("it belongs to a plug-in, and none is above it")),
        }
    }

    /// The security settings that a line is about.
    fn security(&mut self, is_of_listener: bool) -> &mut Security {
        if self.conf.per_listener_settings || is_of_listener {
            &mut self.current().security
        } else {
            &mut self.conf.security
        }
    }

    /// The listener that a line is about.
    fn current(&mut self) -> &mut Listener {
        match self.listener {
            Some(index) => &mut self.conf.listeners[index],
            None => &mut self.conf.default_listener,
        }
    }

    fn at<T>(&self, line: &Line, value: T) -> At<T> {
        At {
            value,
            spot: line.spot,
        }
    }
}

fn protocol(listener: &mut Listener, value: &str) -> Verdict {
    match value {
        "mqtt" => into("protocol = \"Mqtt\", which is the default"),
        "websockets" => {
            listener.is_websocket = true;
            into("protocol = \"WebSockets\"")
        }
        "http_api" => {
            let why = "health and metrics are served by [admin] http; see docs/metrics.md";
            listener.refused = Some(why.to_owned());
            Verdict::NoEquivalent {
                why: why.to_owned(),
            }
        }
        _ => {
            listener.refused = Some(format!("nothing here speaks {value}"));
            Verdict::NoEquivalent {
                why: format!("nothing here speaks {value}. The listener is left out"),
            }
        }
    }
}

/// How much a `log_type` asks for.
pub(super) fn log_level(value: &str) -> Option<LogLevel> {
    match value {
        "none" | "error" => Some(LogLevel::Error),
        "warning" => Some(LogLevel::Warn),
        "notice" | "information" => Some(LogLevel::Info),
        "debug" | "all" | "subscribe" | "unsubscribe" | "websockets" | "internal" => {
            Some(LogLevel::Debug)
        }
        _ => None,
    }
}

pub(super) fn switch(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

pub(super) fn not_a_switch() -> Verdict {
    bad("it is true or false")
}

pub(super) fn into(what: &str) -> Verdict {
    Verdict::Translated {
        into: what.to_owned(),
    }
}

pub(super) fn bad(why: &str) -> Verdict {
    Verdict::Bad {
        why: why.to_owned(),
    }
}

fn set(field: &mut Option<PathBuf>, path: PathBuf, key: &str) -> Verdict {
    *field = Some(path);
    into(key)
}
