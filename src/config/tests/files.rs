//! Files, folders and what lies over what.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;
use crate::config::{FaultCode, Loaded, Report, Settings, load, load_over};

const MAIN: &str = r#"
[gateway]
name = "gw-01"
[[listener]]
name = "plant"
[[listener.port]]
port = 1883
bind = "127.0.0.1"
authentication = "none"
authorization = "none"
[limits]
max_packet_size = "64 KiB"
receive_maximum = 10
"#;

/// A folder with a main file and files in `conf.d`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(main: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), main).unwrap();
        if !files.is_empty() {
            fs::create_dir(folder.path().join("conf.d")).unwrap();
        }
        for (name, text) in files {
            fs::write(folder.path().join("conf.d").join(name), text).unwrap();
        }
        Self(folder)
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("gateway.toml")
    }

    fn load(&self) -> Result<Loaded, Report> {
        load(Some(&self.main()))
    }

    fn settings(&self) -> Settings {
        self.load()
            .unwrap_or_else(|report| panic!("{report}"))
            .settings
    }
}

fn merged(files: &[(&str, &str)]) -> Settings {
    Folder::new(MAIN, files).settings()
}

/// The codes of the faults, with the name of the file and the line of each.
fn faults(report: &Report) -> Vec<(FaultCode, String, usize)> {
    let of = |fault: &crate::config::Fault| {
        let place = fault.place.as_ref().unwrap();
        let name = place.file.file_name().unwrap().to_string_lossy();
        (fault.code, name.into_owned(), place.line)
    };
    report.faults.iter().map(of).collect()
}

#[test]
fn without_a_file_the_default_is_loaded() {
    let loaded = load(None).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.sources.is_empty() && loaded.warnings.is_empty());
}

#[test]
fn sources_are_listed_in_the_order_of_their_weight() {
    let folder = Folder::new(MAIN, &[("b.toml", ""), ("a.toml", ""), (".c.toml", "x")]);
    let loaded = folder.load().unwrap();
    let names: Vec<_> = loaded
        .sources
        .iter()
        .map(|p| p.file_name().unwrap())
        .collect();
    assert_eq!(names, ["gateway.toml", "a.toml", "b.toml"]);
}

#[test]
fn tables_are_merged_key_by_key_and_the_later_counts() {
    let settings = merged(&[
        (
            "20.toml",
            "[limits]\nmax_packet_size = 3000\n[gateway]\nname = \"late\"\n",
        ),
        (
            "10.toml",
            "[limits]\nmax_packet_size = 2000\n[log]\nlevel = \"warn\"\n",
        ),
    ]);
    assert_eq!(settings.limits.port.max_packet_size, 3000);
    assert_eq!(settings.limits.port.receive_maximum, 10);
    assert_eq!(settings.gateway.name.as_str(), "late");
    assert_eq!(settings.log.level, crate::config::LogLevel::Warn);
}

#[test]
fn a_port_is_added_to_a_listener_that_exists() {
    let text = r#"
[[listener]]
name = "plant"
[[listener.port]]
port = 1884
authentication = "none"
authorization = "none"
"#;
    let settings = merged(&[("50-site.toml", text)]);
    assert_eq!(settings.listeners.len(), 1);
    let ports: Vec<String> = settings.ports().map(|p| p.endpoint.to_string()).collect();
    assert_eq!(ports, ["127.0.0.1:1883", "*:1884"]);
    // The bounds of the main file hold for the added port too.
    assert!(settings.ports().all(|p| p.limits.receive_maximum == 10));
}

#[test]
fn a_listener_is_added() {
    let text = r#"
[[listener]]
name = "office"
[[listener.port]]
port = 1884
authentication = "none"
authorization = "none"
"#;
    let settings = merged(&[("50-site.toml", text)]);
    let names: Vec<&str> = settings.listeners.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["plant", "office"]);
}

#[test]
fn a_port_that_exists_is_changed_key_by_key() {
    let text = r#"
[[listener]]
name = "plant"
service_type = "NodePort"
[[listener.port]]
port = 1883
bind = "192.168.10.1"
limits = { max_packet_size = 100 }
"#;
    let settings = merged(&[("50-site.toml", text)]);
    let listener = &settings.listeners[0];
    assert_eq!(listener.service_type, crate::config::ServiceType::NodePort);
    assert_eq!(listener.ports.len(), 1);
    assert_eq!(listener.ports[0].endpoint.to_string(), "192.168.10.1:1883");
    assert_eq!(listener.ports[0].limits.max_packet_size, 100);
}

#[test]
fn sockets_are_the_same_where_their_paths_or_names_are() {
    let main = r#"
[[listener]]
name = "local"
[[listener.port]]
path = "/run/a.sock"
authentication = "none"
authorization = "none"
[[listener.port]]
systemd = "mqtt"
authentication = "none"
authorization = "none"
"#;
    let over = r#"
[[listener]]
name = "local"
[[listener.port]]
path = "/run/a.sock"
mode = "0666"
[[listener.port]]
systemd = "mqtt"
mount_point = "x"
"#;
    let settings = Folder::new(main, &[("1.toml", over)]).settings();
    let ports: Vec<_> = settings.ports().collect();
    assert_eq!(ports.len(), 2);
    assert!(matches!(
        ports[0].endpoint,
        crate::config::Endpoint::Unix { mode: 0o666, .. }
    ));
    assert_eq!(ports[1].mount_point.as_ref().unwrap().as_str(), "x/");
}

#[test]
fn what_one_file_writes_twice_is_a_fault_in_conf_d_too() {
    let port =
        "[[listener.port]]\nport = 1884\nauthentication = \"none\"\nauthorization = \"none\"\n";
    let text = format!("[[listener]]\nname = \"plant\"\n{port}{port}");
    let report = Folder::new(MAIN, &[("1.toml", &text)]).load().unwrap_err();
    assert_eq!(
        faults(&report),
        [(FaultCode::Duplicate, "1.toml".into(), 8)]
    );
    let text = "[[listener]]\nname = \"plant\"\n[[listener]]\nname = \"plant\"\n";
    let report = Folder::new(MAIN, &[("1.toml", text)]).load().unwrap_err();
    assert!(faults(&report).contains(&(FaultCode::Duplicate, "1.toml".into(), 4)));
}

#[test]
fn a_port_of_another_listener_is_a_fault_and_both_files_are_named() {
    let text = r#"[[listener]]
name = "office"
[[listener.port]]
port = 1883
authentication = "none"
authorization = "none"
"#;
    let report = Folder::new(MAIN, &[("1.toml", text)]).load().unwrap_err();
    assert_eq!(
        faults(&report),
        [(FaultCode::Duplicate, "1.toml".into(), 4)]
    );
    let first = &report.faults[0].related[0].place;
    assert!(first.file.ends_with("gateway.toml"));
    assert_eq!(first.line, 7);
}

#[test]
fn faults_of_all_files_are_reported_at_once_in_order() {
    let folder = Folder::new(
        &MAIN.replace("receive_maximum = 10", "receive_maximum = 0"),
        &[
            ("2.toml", "[limits]\nmaximum_qos = 3\n"),
            ("1.toml", "[gatway]\nname = plant\n[log]\nlevel = 5\n"),
        ],
    );
    let report = folder.load().unwrap_err();
    let expected = [
        (FaultCode::BadValue, "gateway.toml".into(), 13),
        (FaultCode::UnknownKey, "1.toml".into(), 1),
        (FaultCode::Syntax, "1.toml".into(), 2),
        (FaultCode::WrongType, "1.toml".into(), 4),
        (FaultCode::BadValue, "2.toml".into(), 2),
    ];
    assert_eq!(faults(&report), expected);
}

#[test]
fn rules_of_several_files_are_added_and_settings_are_merged() {
    let main = MAIN.replace("authorization = \"none\"", "authorization = \"rules\"");
    let rule = |topic: &str| {
        format!(
            "[[authorization.rules.rule]]\nprincipals = {{ everyone = true }}\nconnect = [\"*\"]\npublish = [\"{topic}\"]\n"
        )
    };
    let main = format!(
        "{main}[authorization.rules]\ndenied_publish = \"disconnect\"\n{}",
        rule("a")
    );
    let over = format!(
        "[authorization.rules]\nwide_subscription = \"narrow\"\n{}{}",
        rule("b"),
        rule("a")
    );
    let devices = "[authentication.devices]\nmethods = [\"password\"]\n";
    let mended = "[authentication.devices]\nmethods = [\"anonymous\"]\n";
    let folder = Folder::new(
        &main,
        &[("1.toml", &over), ("2.toml", devices), ("3.toml", mended)],
    );
    let settings = folder.settings();
    let rules = &settings.authorizations[0].rules;
    let told = rules.rules.iter().map(|rule| {
        let (file, line) = rule.place.rsplit_once(':').unwrap();
        let file = Path::new(file).file_name().unwrap().to_string_lossy();
        (rule.publish[0].as_str(), file.into_owned(), line)
    });
    let expected = [
        ("a", "gateway.toml".to_owned(), "16"),
        ("b", "1.toml".to_owned(), "3"),
        ("a", "1.toml".to_owned(), "7"),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(
        rules.denied_publish,
        crate::policy::DeniedPublish::Disconnect
    );
    assert_eq!(
        rules.wide_subscription,
        crate::policy::WideSubscription::Narrow
    );
    assert_eq!(settings.authentications.len(), 1);
    assert_eq!(settings.authentications[0].methods[0].key(), "anonymous");
}

#[test]
fn a_key_that_a_later_file_mends_is_no_fault() {
    let main = MAIN.replace("receive_maximum = 10", "receive_maximum = 0");
    let folder = Folder::new(&main, &[("1.toml", "[limits]\nreceive_maximum = 5\n")]);
    assert_eq!(folder.settings().limits.port.receive_maximum, 5);
}

#[test]
fn a_file_that_is_not_read_is_mentioned() {
    let folder = Folder::new(
        MAIN,
        &[
            ("site.conf", ""),
            ("a.TOML", ""),
            ("README", ""),
            ("b.toml~", ""),
        ],
    );
    let loaded = folder.load().unwrap();
    let named: Vec<_> = loaded
        .warnings
        .iter()
        .map(|w| {
            (
                w.code,
                w.place
                    .as_ref()
                    .unwrap()
                    .file
                    .file_name()
                    .unwrap()
                    .to_owned(),
            )
        })
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named.contains(&(FaultCode::NoEffect, "site.conf".into())));
    assert!(named.contains(&(FaultCode::NoEffect, "a.TOML".into())));
}

#[test]
fn links_are_followed_as_kubernetes_lays_them() {
    let folder = Folder::new(MAIN, &[("placeholder.txt", "")]);
    let data = folder.0.path().join("conf.d/..data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("site.toml"), "[limits]\nreceive_maximum = 5\n").unwrap();
    std::os::unix::fs::symlink("..data/site.toml", folder.0.path().join("conf.d/site.toml"))
        .unwrap();
    assert_eq!(folder.settings().limits.port.receive_maximum, 5);
}

fn only_fault(path: &Path) -> crate::config::Fault {
    let report = load(Some(path)).unwrap_err();
    assert_eq!(report.faults.len(), 1, "{report}");
    report.faults[0].clone()
}

#[test]
fn a_file_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let fault = only_fault(&path);
    assert_eq!(fault.code, FaultCode::Unreadable);
    assert_eq!(fault.message, "the file cannot be read: it does not exist");
    let hint = format!(
        "`fieldgate config default > {}` writes one to begin with",
        path.display()
    );
    assert_eq!(fault.hint, Some(hint));
}

#[test]
fn a_folder_in_place_of_a_file() {
    let folder = Folder::new(MAIN, &[]);
    let fault = only_fault(folder.0.path());
    assert_eq!(fault.message, "the file cannot be read: it is a folder");
    assert!(fault.hint.unwrap().ends_with("/gateway.toml"));
}

#[test]
fn a_part_of_the_path_that_is_a_file() {
    let folder = Folder::new(MAIN, &[]);
    let fault = only_fault(&folder.main().join("x.toml"));
    assert_eq!(fault.code, FaultCode::Unreadable);
}

#[test]
fn a_folder_in_conf_d_that_is_called_like_a_file() {
    let folder = Folder::new(MAIN, &[("a.toml", "")]);
    fs::create_dir(folder.0.path().join("conf.d/b.toml")).unwrap();
    let report = folder.load().unwrap_err();
    assert_eq!(
        faults(&report),
        [(FaultCode::Unreadable, "b.toml".into(), 0)]
    );
}

#[test]
fn a_file_that_is_too_large() {
    let folder = Folder::new(&"# a\n".repeat(10 << 20 >> 2), &[]);
    let fault = only_fault(&folder.main());
    assert_eq!(fault.code, FaultCode::Unreadable);
    assert!(fault.message.contains("larger than 4 MiB"));
}

#[test]
fn a_file_without_an_end() {
    let fault = only_fault(Path::new("/dev/zero"));
    assert!(fault.message.contains("larger than 4 MiB"));
}

#[test]
fn a_file_that_is_not_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    fs::write(&path, b"# plant\nname = \"gr\xfc\xdfe\"\n").unwrap();
    let fault = only_fault(&path);
    assert_eq!(fault.code, FaultCode::NotText);
    assert_eq!(fault.message, "the file is not UTF-8: byte 19 is 0xFC");
    let place = fault.place.unwrap();
    assert_eq!((place.line, place.column), (2, 11));
    fs::write(&path, b"\xff\xfen\0a\0m\0e\0").unwrap();
    assert!(only_fault(&path).message.contains("UTF-16"));
}

#[test]
fn relative_names_are_read_and_shown_as_written() {
    // The working folder of tests is that of the package.
    let path = Path::new("config/examples/plain-lan.toml");
    assert!(root().join(path).exists());
    assert_eq!(load(Some(path)).unwrap().sources, [path]);
}

#[test]
fn a_listener_of_a_cluster_takes_the_whole_place_of_one_with_its_name() {
    let open = "authentication = \"none\"\nauthorization = \"none\"\n";
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("gateway.toml");
    let text = format!(
        "[[listener]]\nname = \"default\"\nservice_name = \"broker\"\n[[listener.port]]\nport = 18883\n{open}\
         [[listener]]\nname = \"devices\"\n[[listener.port]]\nport = 8883\n{open}"
    );
    fs::write(&main, text).unwrap();
    let over = format!(
        "[[listener]]\nname = \"default\"\n[[listener.port]]\nport = 1883\n{open}[[listener.port]]\nport = 1884\n{open}"
    );
    let added = dir.path().join("kubernetes/gateway.toml");
    let settings = load_over(&main, &added, &over).unwrap().settings;
    let ports: Vec<String> = settings
        .ports()
        .map(|port| port.endpoint.to_string())
        .collect();
    assert_eq!(ports, ["*:8883", "*:1883", "*:1884"]);
    assert_eq!(settings.listeners[1].service_name, None);
    // Two of one name in the text are still a fault of the text.
    assert!(load_over(&main, &added, &format!("{over}{over}")).is_err());
    let settings = load_over(&main, &added, "# nothing\n").unwrap().settings;
    assert_eq!(settings.ports().count(), 2);
}

#[test]
fn a_listener_is_left_out_and_sections_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("gateway.toml");
    let text = "[kubernetes]\ncontroller = true\n[[listener]]\nname = \"default\"\n\
         [[listener.port]]\nport = 1883\nauthentication = \"users\"\nauthorization = \"none\"\n\
         [authentication.users]\nmethods = [\"password\"]\n";
    fs::write(&main, text).unwrap();
    let added = dir.path().join("kubernetes/gateway.toml");
    let over = |text: &str| load_over(&main, &added, text);
    let settings = over("left_out = [\"default\", \"other\"]\n").unwrap();
    assert!(settings.settings.listeners.is_empty());
    let settings = over("left_out = [\"other\"]\n").unwrap().settings;
    assert_eq!(settings.ports().count(), 1);
    let section = "[authentication.users]\nmethods = [\"service_account_token\"]\n\
         [authentication.users.service_account_token]\naudiences = [\"x\"]\n";
    let report = over(section).unwrap_err();
    let fault = report.errors().next().unwrap();
    assert!(fault.message.contains("authentication `users`"));
    // It is a key of the text alone.
    fs::write(&main, format!("left_out = []\n{text}")).unwrap();
    assert!(over("# nothing\n").is_err());
}
