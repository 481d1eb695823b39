//! The power fails between any two steps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::ca::files::Disk;
use crate::ca::files::power::Failing;
use crate::ca::rig::{self, START};
use crate::ca::time::DAY;
use crate::ca::{Asker, CaRequest, CertificateAuthority, SecretText, SystemChance};
use crate::store::Jobs;

const YEAR: u64 = 365 * DAY;

/// More steps than anything takes.
const STEPS_MAX: usize = 200;

fn on(dir: &Path, files: Box<dyn Files>) -> CertificateAuthority {
    let parts: (Box<dyn Files>, Box<dyn Chance>) = (files, Box::new(SystemChance::default()));
    let jobs = Jobs::none(dir);
    CertificateAuthority::with(
        dir,
        Sealing::none(),
        Vec::new(),
        jobs,
        parts,
        Lifetimes::default(),
    )
}

fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Does something with the power failing after each number of steps, and what holds afterwards. Returns how many steps it
/// takes.
fn at_every_step(
    prepare: impl Fn(&Path),
    act: impl Fn(&CertificateAuthority) -> Result<(), CaError>,
    check: impl Fn(&Path, bool),
) -> usize {
    for is_torn in [false, true] {
        for steps in 1..STEPS_MAX {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let files = Box::new(Failing::after(steps, is_torn));
            let authority = on(dir.path(), files);
            let done = act(&authority);
            drop(authority);
            check(dir.path(), done.is_ok());
            if done.is_ok() {
                if is_torn {
                    return steps - 1;
                }
                break;
            }
        }
    }
    panic!("it takes too many steps");
}

fn init(authority: &CertificateAuthority) -> Result<(), CaError> {
    let plan = rig::plan(KeyAlgorithm::EcP256);
    authority.init(&plan, Reading::settled(START), &Asker::default())
}

#[test]
fn new_authority_is_whole_or_not_there_whenever_the_power_fails() {
    let steps = at_every_step(
        |_| {},
        init,
        |dir, is_done| {
            let authority = on(dir, Box::new(Disk));
            let reading = Reading::settled(START + DAY);
            if authority.is_there() {
                // Whole: what is missing that others read is made anew.
                authority.maintain(reading).unwrap();
                let status = authority.status(reading).unwrap();
                assert_eq!(status.certificates.len(), 2);
                assert_eq!(status.problems, Vec::<String>::new());
                assert!(authority.trust_file().exists() && authority.crl_file().exists());
            } else {
                assert!(!is_done);
                init(&authority).unwrap();
                assert!(authority.is_there());
            }
            assert!(!dir.join("ca.new").exists());
        },
    );
    assert!(steps > 20, "{steps} steps were cut");
}

#[test]
fn folder_with_files_but_no_authority_is_told_and_the_last_time_seen_is_in_nobodys_way() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("ca");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("floor"), "1795305600\n").unwrap();
    std::fs::write(folder.join("root-1.crt"), "x").unwrap();
    let authority = on(state.path(), Box::new(Disk));
    assert!(!authority.is_there());
    let refused = init(&authority).unwrap_err();
    assert!(matches!(refused, CaError::LeftOver { .. }), "{refused}");
    std::fs::remove_file(folder.join("root-1.crt")).unwrap();
    init(&authority).unwrap();
    assert!(authority.is_there() && !folder.join("floor").exists());
    let again = init(&authority).unwrap_err();
    assert!(matches!(again, CaError::Present { .. }), "{again}");
}

/// An authority whose next step is due a while later.
fn prepared(dir: &Path) {
    init(&on(dir, Box::new(Disk))).unwrap();
}

fn certificates(dir: &Path, now: u64) -> usize {
    let authority = on(dir, Box::new(Disk));
    authority
        .status(Reading::settled(now))
        .unwrap()
        .certificates
        .len()
}

#[test]
fn rotation_is_whole_or_not_there_whenever_the_power_fails() {
    for (at, counts) in [
        (START + 4 * YEAR, vec![2, 3]),
        (START + 15 * YEAR, vec![2, 3, 5, 4]),
    ] {
        let reading = Reading::settled(at);
        let old = tempfile::tempdir().unwrap();
        prepared(old.path());
        let steps = at_every_step(
            |dir| copy(&old.path().join("ca"), &dir.join("ca")),
            |authority| authority.maintain(reading).map(drop),
            |dir, is_done| {
                let count = certificates(dir, at);
                assert!(counts.contains(&count), "{count}");
                assert!(!is_done || count == counts[counts.len() - 1], "{count}");
                let authority = on(dir, Box::new(Disk));
                authority.maintain(reading).unwrap();
                let status = authority.status(reading).unwrap();
                assert_eq!(status.problems, Vec::<String>::new());
                // The next look at it finds nothing to do, and nothing is left lying around.
                let whole = tree(&dir.join("ca"));
                assert!(authority.maintain(reading).unwrap().is_empty());
                assert_eq!(tree(&dir.join("ca")), whole);
                let stray = whole.iter().find(|(name, _)| name.contains(".new"));
                assert_eq!(stray, None);
                let roots = whole
                    .iter()
                    .filter(|(name, _)| name.starts_with("trust/"))
                    .count();
                let published =
                    String::from_utf8(fs::read(authority.trust_file()).unwrap()).unwrap();
                assert_eq!(published.matches("BEGIN CERTIFICATE").count(), roots);
            },
        );
        assert!(steps > 10, "{steps} steps were cut");
    }
}

/// Whatever was cut: others trust the root of what is issued now before anybody has looked after it, and a look mends the rest.
fn is_sound(dir: &Path) {
    let authority = on(dir, Box::new(Disk));
    let reading = Reading::settled(START);
    let roots = authority.trusted_roots(reading).unwrap();
    let published = fs::read(authority.trust_file()).unwrap();
    let published = crate::ca::pem::certificates(&published, Path::new("trust.pem")).unwrap();
    assert!(
        published
            .iter()
            .any(|root| root.as_ref() == roots[0].as_slice()),
        "the root of what is issued now is not published"
    );
    authority.maintain(reading).unwrap();
    let problems = authority.status(reading).unwrap().problems;
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn import_and_keys_of_roots_are_whole_or_as_before_whenever_the_power_fails() {
    let company = tempfile::tempdir().unwrap();
    prepared(company.path());
    let read = |name: &str| fs::read_to_string(company.path().join("ca").join(name)).unwrap();
    let import = CaRequest::Import {
        chain: read("issuing-2.crt") + &read("root-1.crt"),
        chain_file: "chain.pem".into(),
        key: SecretText(read("issuing-2.key").into()),
        key_file: "issuing.key".into(),
        name: "gateway-7".to_owned(),
    };
    let old = tempfile::tempdir().unwrap();
    prepared(old.path());
    let key = crate::ca::export_root_key(old.path(), &Sealing::none()).unwrap();
    let restore = CaRequest::RestoreRootKey {
        key: SecretText(key),
        file: "root.key".into(),
    };
    let requests = [
        import,
        CaRequest::Rollover {},
        CaRequest::RemoveRootKey {},
        restore,
    ];
    for request in &requests {
        let reading = Reading::settled(START);
        let steps = at_every_step(
            |dir| copy(&old.path().join("ca"), &dir.join("ca")),
            |authority| {
                let asker = Asker::default();
                authority.apply(request, reading, &asker).map(drop)
            },
            |dir, _| is_sound(dir),
        );
        assert!(steps >= 5, "{steps} steps were cut");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn keys_are_for_the_gateway_alone() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let mode = |name: &str| {
        let path = dir.path().join("ca").join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    for name in ["", "sealed", "trust"] {
        assert_eq!(mode(name), 0o700, "{name}");
    }
    for name in ["root-1.key", "issuing-2.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("trust.pem") & 0o600, 0o600);
    let again = init(&on(dir.path(), Box::new(Disk))).unwrap_err();
    assert!(matches!(again, CaError::Present { .. }), "{again}");
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let ca = dir.path().join("ca");
    let reading = Reading::settled(START);
    let file = |name: &str| ca.join(name);
    let say = || {
        let authority = on(dir.path(), Box::new(Disk));
        match authority.status(reading) {
            Ok(status) => status.problems.join("; "),
            Err(fault) => format!("{fault}; {}", fault.hint()),
        }
    };
    let swap = |name: &str, content: &[u8], expected: &[&str]| {
        let old = fs::read(file(name)).unwrap();
        fs::write(file(name), content).unwrap();
        let said = say();
        for part in expected {
            assert!(said.contains(part), "{name}: {said}");
        }
        fs::write(file(name), old).unwrap();
        assert_eq!(say(), "");
    };
    let root_key = fs::read(file("root-1.key")).unwrap();
    let root = fs::read(file("root-1.crt")).unwrap();
    let issuing = fs::read(file("issuing-2.crt")).unwrap();
    swap(
        "issuing-2.key",
        &root_key,
        &[
            "issuing-2.key",
            "does not belong",
            "issuing-2.crt",
            "take the key",
        ],
    );
    swap(
        "issuing-2.key",
        b"nothing",
        &["issuing-2.key", "damaged", "backup"],
    );
    swap("issuing-2.crt", &root, &["issuing-2.crt", "not issued by"]);
    swap(
        "issuing-2.crt",
        b"nothing",
        &["issuing-2.crt", "no certificate"],
    );
    swap("root-1.crt", &issuing, &["root-1.crt", "root"]);
    swap("state.json", b"{", &["state.json", "backup"]);

    fs::remove_file(file("issuing-2.key")).unwrap();
    let said = say();
    assert!(
        said.contains("issuing-2.key") && said.contains("backup"),
        "{said}"
    );
}

#[test]
fn sealed_keys_are_in_no_plain_file() {
    let dir = tempfile::tempdir().unwrap();
    let script = rig::systemd_creds(dir.path(), "exec tr A-Za-z N-ZA-Mn-za-m");
    let open = |sealing| rig::open(dir.path(), sealing, Lifetimes::default());
    let sealing = Sealing::by(script, None);
    let reading = Reading::settled(START);
    let authority = open(sealing.clone());
    init(&authority).unwrap();
    drop(authority);
    for (name, content) in tree(&dir.path().join("ca")) {
        let text = String::from_utf8_lossy(&content).into_owned();
        assert!(!name.ends_with(".key"), "{name}");
        assert!(!text.contains("PRIVATE KEY"), "{name}");
    }
    let authority = open(sealing);
    let status = authority.status(reading).unwrap();
    assert!(
        status
            .certificates
            .iter()
            .all(|found| found.key.word() == "sealed")
    );
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    authority
        .maintain(Reading::settled(START + 4 * YEAR))
        .unwrap();
    drop(authority);

    let elsewhere = open(Sealing::none());
    let said = elsewhere.status(reading).unwrap().problems.join("; ");
    assert!(
        said.contains("sealed/issuing-2") && said.contains("LoadCredentialEncrypted"),
        "{said}"
    );
}

#[test]
fn plain_keys_are_sealed_later() {
    let dir = tempfile::tempdir().unwrap();
    prepared(dir.path());
    let reading = Reading::settled(START);
    let asker = Asker::default();
    let fault = on(dir.path(), Box::new(Disk))
        .seal(reading, &asker)
        .unwrap_err();
    assert!(matches!(fault, CaError::Sealed { .. }), "{fault}");
    let script = rig::systemd_creds(dir.path(), "exec tr A-Za-z N-ZA-Mn-za-m");
    let authority = rig::open(dir.path(), Sealing::by(script, None), Lifetimes::default());
    assert_eq!(authority.seal(reading, &asker).unwrap(), 2);
    assert_eq!(authority.seal(reading, &asker).unwrap(), 0);
    let names = files::names(&dir.path().join("ca")).unwrap();
    assert!(
        names.iter().all(|name| !name.ends_with(".key")),
        "{names:?}"
    );
    assert_eq!(
        authority.status(reading).unwrap().problems,
        Vec::<String>::new()
    );
}
