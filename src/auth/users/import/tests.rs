//! Files of other brokers, made by their own tools; `tests/vectors/users/README.md` says how.

use super::*;
use crate::auth::users::PasswordHash;

const WALL: u64 = 1_800_000_000;

fn vector(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/users/");
    std::fs::read_to_string(format!("{folder}{name}")).unwrap()
}

/// Parses a file as the kind that it is taken for.
fn parse(name: &str) -> Import {
    let text = vector(name);
    Format::guess(name, &text).parse(&text, WALL)
}

fn texts(remarks: &[Remark]) -> Vec<String> {
    remarks.iter().map(ToString::to_string).collect()
}

fn user<'a>(import: &'a Import, name: &str) -> &'a NewUser {
    let mut users = import.users.iter();
    users.find(|user| &*user.username == name).unwrap()
}

fn assert_password(user: &NewUser, password: &str) {
    let hash = PasswordHash::parse(&user.hash).unwrap();
    assert_eq!(hash.verify(password.as_bytes()), Ok(true), "{user:?}");
    assert_eq!(hash.verify(b"wrong"), Ok(false), "{user:?}");
}

#[test]
fn password_file_of_mosquitto() {
    let import = parse("mosquitto.passwd");
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    assert_eq!(import.users.len(), 5);
    for (name, password) in [
        ("press-1", "correct horse 1"),
        ("pump 7", "ümläut-pass"),
        ("old-plc", "plc-secret-9"),
        ("new-plc", "plc-secret-10"),
        ("argon", "correct horse 1"),
    ] {
        assert_password(user(&import, name), password);
    }
}

#[test]
fn file_of_dynamic_security() {
    let import = parse("dynamic-security.json");
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    let names: Vec<_> = import.users.iter().map(|user| &*user.username).collect();
    assert_eq!(names, ["admin", "lab", "press-1", "pump-7"]);
    assert_password(user(&import, "press-1"), "correct horse 1");
    let press = user(&import, "press-1");
    assert_eq!(
        press.attributes,
        [
            ("group".into(), "hall-2".into()),
            ("role".into(), "press".into())
        ]
        .into()
    );
    assert_eq!(&*user(&import, "admin").note, "Dynsec admin user");
    let enabled: Vec<_> = import.users.iter().map(|user| user.enabled).collect();
    assert_eq!(enabled, [true, false, true, true]);
    assert_eq!(
        texts(&import.notes),
        [
            "user `nopw`: has no password, so nobody could log in; left out",
            "user `pump-7`: may use only the client identifier `pump-client`; say that with `client_id` of the method chain or with rules",
            "3 roles say what clients may do; write them as rules of `[authorization.NAME]` for the attribute `role`",
            "1 groups have roles; write these as rules for the attribute `group`",
        ]
    );
}

#[test]
fn roles_and_groups_are_ranked() {
    let text = r#"{"clients": [{"username": "a", "encoded_password": "$6$IOiD9nazDTBod1EL$1L9Ajg+6t4hU8MyhviAUwyEFKSskxGaTXkNlRQSMR4Qmpgeo5zGvndU3PhxXiTl6l55BZ5DLIRS733eZTPfkYw==",
        "textname": "A", "textdescription": "the first",
        "roles": [{"rolename": "x"}, {"rolename": "y", "priority": 5}]}],
        "groups": [{"groupname": "g", "clients": [{"username": "a"}, {"username": "b"}]}]}"#;
    let import = Format::guess("x.json", text).parse(text, WALL);
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    let user = user(&import, "a");
    assert_eq!(
        user.attributes,
        [
            ("group".into(), "g".into()),
            ("role".into(), "y".into()),
            ("role-2".into(), "x".into())
        ]
        .into()
    );
    assert_eq!(&*user.note, "A: the first");
    assert_password(user, "plc-secret-9");
    assert_eq!(import.notes.len(), 2);
}

#[test]
fn user_file_of_the_cluster_broker() {
    let import = parse("cluster.toml");
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    assert_password(user(&import, "client1"), "password1");
    assert_password(user(&import, "client 2"), "pässword-2");
    assert_eq!(
        user(&import, "client1").attributes,
        [
            ("building".into(), "17".into()),
            ("floor".into(), "floor1".into())
        ]
        .into()
    );
}

#[test]
fn table_of_users_gets_passwords() {
    let import = parse("users.csv");
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    let made = with_passwords(&import.without_password).unwrap();
    assert_eq!(made.len(), 3);
    let (first, password) = &made[0];
    assert_eq!(
        first.attributes,
        [
            ("floor".into(), "1".into()),
            ("role".into(), "press, big".into())
        ]
        .into()
    );
    assert_eq!(&*first.username, "press-1");
    assert_eq!(first.expires_at, Some(WALL + 30 * 86_400));
    assert_eq!(&*first.note, "said \"hello\"");
    let password = std::str::from_utf8(password.expose()).unwrap();
    assert_password(first, password);
    let (last, _) = &made[2];
    assert_eq!(&*last.username, "press,3");
    assert!(last.attributes.is_empty());
    assert_eq!(csv_field(&last.username), "\"press,3\"");
    assert_eq!(csv_field("a\"b "), "\"a\"\"b \"");
}

#[test]
fn table_with_semicolons_is_read() {
    let text = "\u{feff}username;floor\npress;1\n";
    let import = Format::Csv.parse(text, WALL);
    assert!(import.faults.is_empty(), "{:?}", import.faults);
    assert_eq!(
        import.without_password[0].attributes,
        [("floor".into(), "1".into())].into()
    );
}

#[test]
fn every_bad_line_is_named() {
    let text = "\
# a comment

good:$6$IOiD9nazDTBod1EL$1L9Ajg+6t4hU8MyhviAUwyEFKSskxGaTXkNlRQSMR4Qmpgeo5zGvndU3PhxXiTl6l55BZ5DLIRS733eZTPfkYw==
no colon
plain:secret word
bad:$7$101$x$y
:$6$x$y
unknown:$2b$12$xyz
costly:$7$99999999$YoIjNZVCa8v6LNED$dVIRbc24IBWWUMqktglovbeRSNpFxcgcSQMPtGKUQY4BLNy7PhxLM9GgdFP/Q+iPx4z9/pX/j0sPM0K+wf83tw==
good:$6$IOiD9nazDTBod1EL$1L9Ajg+6t4hU8MyhviAUwyEFKSskxGaTXkNlRQSMR4Qmpgeo5zGvndU3PhxXiTl6l55BZ5DLIRS733eZTPfkYw==
";
    let import = Format::Mosquitto.parse(text, WALL);
    let faults = texts(&import.faults);
    assert_eq!(
        faults,
        [
            "line 4: there is no `:` between a user name and a hash",
            "line 5: the password is not hashed; `mosquitto_passwd -U FILE` hashes all of a file",
            "line 6: the hash is not written as its kind is",
            "line 7: the name is empty",
            "line 8: the hash is of no known kind",
            "line 9: the hash costs more to check than is allowed here",
            "user `good`: is there 2 times",
        ]
    );
    assert!(!faults.join("").contains("secret word"));

    let text = "username,floor,expires\na,1\nb,1,soon\n,1,\nc,1,30d\n";
    let import = Format::Csv.parse(text, WALL);
    let places: Vec<_> = import
        .faults
        .iter()
        .map(|fault| fault.place.clone())
        .collect();
    assert_eq!(places, [Place::Line(2), Place::Line(3), Place::Line(4)]);
    for (heading, place) in [
        ("user,floor", 1),
        ("username,password", 1),
        ("username,a,a", 1),
        ("username,,a", 1),
    ] {
        let import = Format::Csv.parse(&format!("{heading}\nx,y,z\n"), WALL);
        assert_eq!(import.faults[0].place, Place::Line(place), "{heading}");
    }
}

#[test]
fn files_of_other_kinds_are_refused_without_showing_them() {
    for format in [Format::DynamicSecurity, Format::Exported] {
        for text in ["", "{", "[]", "{\"users\": 1, \"clients\": \"secret\"}"] {
            let import = format.parse(text, WALL);
            assert_eq!(import.faults.len(), 1, "{format:?} {text}");
            assert!(!import.faults[0].to_string().contains("secret"));
        }
    }
    let half = r#"{"clients": [{"username": "a", "password": "x", "salt": "y"}]}"#;
    let import = Format::DynamicSecurity.parse(half, WALL);
    assert_eq!(
        texts(&import.faults),
        ["user `a`: `password`, `salt` and `iterations` are not all there"]
    );
}

#[test]
fn export_can_be_imported() {
    let import = parse("dynamic-security.json");
    let json = to_json(&import.users).unwrap();
    let again = Format::guess("x", &json);
    assert_eq!(again, Format::Exported);
    assert_eq!(again.parse(&json, WALL).users, import.users);
    let (lines, left_out) = to_lines(&import.users);
    assert!(left_out.is_empty());
    let again = Format::guess("x", &lines).parse(&lines, WALL);
    assert_eq!(again.users.len(), import.users.len());
    assert_password(user(&again, "press-1"), "correct horse 1");
    let odd = NewUser {
        username: "a:b".into(),
        ..import.users[0].clone()
    };
    let (lines, left_out) = to_lines(&[odd]);
    assert_eq!((lines.as_str(), &*left_out[0]), ("", "a:b"));
}
