//! `fieldgate setup` as whoever unpacks a gateway, or flashes five hundred, meets it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::command::{Said, fieldgate, run};
use crate::support::{TestGateway, free_port};

struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("etc")).expect("a folder for the configuration");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("write");
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = fieldgate();
        command.args(args).arg("--state-dir");
        command.arg(self.path("state"));
        command.output().expect("run the binary").into()
    }

    fn setup(&self, answers: &str) -> Said {
        let from = self.write("setup.toml", answers);
        let config = self.path("etc/gateway.toml");
        self.run(&["setup", "--from", text(&from), "--config", text(&config)])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

const ANSWERS: &str =
    "[user]\nname = \"press-1\"\ngenerate = true\n[port]\nport = 1884\nbind = \"127.0.0.1\"\n";

#[test]
fn a_setup_makes_a_user_and_a_file_and_says_what_comes_next() {
    let site = Site::new();
    let said = site.setup(ANSWERS);
    assert_eq!(said.code, 0, "{said:?}");
    for wanted in [
        "made the user press-1",
        "password of press-1, shown only now: ",
        "mosquitto_sub -V 5 -h 127.0.0.1 -p 1884 -u press-1 -P \"$(cat)\" -i press-1-sub -t 'press-1/#' -v",
        "mosquitto_pub",
        "fieldgate user add NAME",
        "journalctl -u fieldgate",
    ] {
        assert!(said.stdout.contains(wanted), "{wanted}: {}", said.stdout);
    }
    let users = site.run(&["user", "list"]);
    assert!(users.stdout.contains("press-1"), "{users:?}");
    let config = site.path("etc/gateway.toml");
    let checked = run(["check", "--config", text(&config)]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("127.0.0.1:1884"), "{checked:?}");
    let password = said
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("password of press-1, shown only now: "))
        .expect("the password");
    assert!(password.len() >= 20);
    let written = site.read("etc/gateway.toml");
    assert!(!written.contains(password), "no password stands in a file");
    assert!(written.contains("client_id = \"username-prefix\""));
    let audit = site.run(&["audit", "--kind", "user-added"]);
    assert!(audit.stdout.contains("press-1"), "{audit:?}");
}

#[test]
fn a_second_setup_changes_nothing() {
    let site = Site::new();
    assert_eq!(site.setup(ANSWERS).code, 0);
    let before = site.read("etc/gateway.toml");
    let said = site.setup(ANSWERS);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.contains("the user press-1 is there already"),
        "{said:?}"
    );
    assert!(
        said.stdout
            .contains("is there already and was left as it is"),
        "{said:?}"
    );
    assert!(!said.stdout.contains("shown only now"), "{said:?}");
    assert_eq!(site.read("etc/gateway.toml"), before);
    assert!(!site.path("etc/conf.d").exists());
}

#[test]
fn what_a_person_wrote_stays_and_the_file_goes_beside_it() {
    let site = Site::new();
    let mine = "# mine\n[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 1883\nbind = \"127.0.0.1\"\n\
                authentication = \"none\"\nauthorization = \"none\"\n";
    site.write("etc/gateway.toml", mine);
    let said = site.setup(&ANSWERS.replace("1884", "1883"));
    assert_eq!(said.code, 78, "the port is taken: {said:?}");
    assert!(!site.path("etc/conf.d").exists(), "nothing is written");
    let users = site.run(&["user", "list"]);
    assert!(
        !users.stdout.contains("press-1"),
        "nobody is made: {users:?}"
    );
    let said = site.setup(ANSWERS);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(site.read("etc/gateway.toml"), mine);
    assert!(
        site.read("etc/conf.d/50-setup.toml")
            .contains("port = 1884")
    );
}

#[test]
fn passwords_come_from_files_and_never_stand_in_the_answers() {
    let site = Site::new();
    let said = site.setup("[user]\nname = \"a\"\npassword = \"hunter2hunter2\"\n");
    assert_eq!(said.code, 78, "{said:?}");
    assert!(
        said.stderr.contains("setup.toml:3: ") && said.stderr.contains("hint: "),
        "{said:?}"
    );
    assert!(!said.stderr.contains("hunter2"), "{said:?}");
    let said = site.setup("[user]\nname = \"a\"\ngenerate = true\nnoise = 1\n");
    assert_eq!(said.code, 78, "unknown keys are errors: {said:?}");
    let file = site.write("a.password", "hunter2hunter2\nsecond line\n");
    let answers = format!(
        "[user]\nname = \"a\"\npassword_file = \"{0}\"\n[port]\nport = 1884\n",
        text(&file)
    );
    let said = site.setup(&answers);
    assert_eq!(said.code, 0, "{said:?}");
    let cat = format!("-P \"$(cat {})\"", text(&file));
    assert!(said.stdout.contains(&cat), "{said:?}");
    assert!(!said.stdout.contains("hunter2"), "{said:?}");
}

#[test]
fn a_setup_without_a_terminal_says_how_to_answer() {
    let site = Site::new();
    let config = site.path("etc/gateway.toml");
    let said = site.run(&["setup", "--config", text(&config)]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(said.stderr.contains("--from FILE"), "{said:?}");
    assert!(!config.exists());
}

#[test]
fn a_running_gateway_takes_the_port_over() {
    let Some(gateway) = TestGateway::configured(
        "[[listener]]\nname = \"test\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\n\
         authentication = \"none\"\nauthorization = \"none\"\n",
    ) else {
        return;
    };
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let answers = format!(
        "[user]\nname = \"press-1\"\ngenerate = true\n[port]\nport = {}\nbind = \"127.0.0.1\"\n",
        address.port()
    );
    fs::write(gateway.path("setup.toml"), answers).expect("write");
    let (from, config, state) = (
        gateway.path("setup.toml"),
        gateway.path("gateway.toml"),
        gateway.path("state"),
    );
    let args = ["setup", "--from", text(&from), "--config", text(&config)];
    let said = run(args.into_iter().chain(["--state-dir", text(&state)]));
    assert_eq!(said.code, 0, "{said:?}");
    TcpStream::connect(address).expect("the port is open when the setup is over");
}
