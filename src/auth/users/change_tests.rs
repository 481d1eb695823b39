//! Changes of users on a real database: stored, audited, all or none.

use super::tests::{CHEAP, Rig, actor, cheap, rig_record};
use super::*;
use std::path::Path;

#[test]
fn changes_are_stored_and_audited() {
    let rig = Rig::new();
    rig.add(NewUser {
        attributes: [("floor".into(), "1".into())].into(),
        expires_at: Some(2_000_000_000),
        note: "hall 2".into(),
        ..cheap("a")
    });
    rig.add(cheap("b"));
    rig.set("a", "role", "press");
    rig.apply(&UserRequest::Set {
        username: "a".into(),
        attributes: Attributes::new(),
        without: vec!["floor".into(), "none".into()],
        expiry: Some(Expiry::Never),
        note: Some("hall 3".into()),
    })
    .unwrap();
    rig.enable("a", false);
    rig.passwd("a", CHEAP);
    rig.remove("b");
    let rig = rig.reopen();
    assert_eq!(rig.users.len(), 1);
    let report = rig.report("a");
    assert_eq!(report.attributes, [("role".into(), "press".into())].into());
    assert_eq!(
        (report.enabled, report.expires_at, &*report.note),
        (false, None, "hall 3")
    );
    let audited = rig.audited();
    let audited: Vec<_> = audited
        .iter()
        .map(|(kind, subject, detail)| (kind.as_str(), subject.as_str(), detail.as_str()))
        .collect();
    assert_eq!(
        audited,
        [
            ("user-added", "a", ""),
            ("user-added", "b", ""),
            ("user-changed", "a", "role=press"),
            ("user-changed", "a", "without floor, without end, note"),
            ("user-disabled", "a", ""),
            ("user-password", "a", ""),
            ("user-removed", "b", ""),
        ]
    );
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    let add = |user| rig.apply(&UserRequest::Add { user });
    assert!(matches!(add(cheap("a")), Err(UserFault::Exists(_))));
    for name in ["", "a\nb", "a\0b", &"x".repeat(257)] {
        assert!(
            matches!(add(cheap(name)), Err(UserFault::Value { .. })),
            "{name:?}"
        );
    }
    assert!(matches!(
        add(NewUser {
            hash: "plain".into(),
            ..cheap("b")
        }),
        Err(UserFault::Hash { .. })
    ));
    let too_many = (0..33).map(|n| (format!("a{n}").into(), "x".into()));
    for attributes in [
        too_many.collect(),
        Attributes::from([("".into(), "x".into())]),
        Attributes::from([("{x}".into(), "x".into())]),
        Attributes::from([("x".into(), "a\tb".into())]),
        Attributes::from([("x".into(), "y".repeat(257).into())]),
    ] {
        let user = NewUser {
            attributes,
            ..cheap("b")
        };
        assert!(matches!(add(user), Err(UserFault::Value { .. })));
    }
    let username: Box<str> = "nobody".into();
    for request in [
        UserRequest::Remove {
            username: username.clone(),
        },
        UserRequest::Enable {
            username: username.clone(),
            enabled: true,
        },
        UserRequest::Password {
            username: username.clone(),
            hash: RequestHash(CHEAP.into()),
        },
        UserRequest::Show { username },
    ] {
        assert!(matches!(rig.apply(&request), Err(UserFault::Unknown(_))));
    }
    assert_eq!(rig.users.len(), 1);
    assert_eq!(rig.audited().len(), 1);
}

#[test]
fn database_that_refuses_changes_nothing_in_memory() {
    let record = rig_record();
    let users = Users::new(vec![record], Jobs::none(Path::new("/nowhere")));
    let username: Box<str> = "a".into();
    for request in [
        UserRequest::Remove {
            username: username.clone(),
        },
        UserRequest::Enable {
            username,
            enabled: false,
        },
        UserRequest::Add { user: cheap("b") },
    ] {
        let refused = users.apply(&request, &actor());
        assert!(matches!(refused, Err(UserFault::Store(_))), "{refused:?}");
    }
    let entry = users.table().get("a").unwrap();
    assert!(entry.record().enabled);
    assert_eq!(users.len(), 1);
}

#[test]
fn imports_take_all_or_none() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    let generation = rig.users.table().get("a").unwrap().record().generation;
    let import = |users: Vec<NewUser>, replace, dry_run| {
        rig.apply(&UserRequest::Import {
            users,
            replace,
            dry_run,
        })
    };
    let refused = import(vec![cheap("b"), cheap("a")], false, false).unwrap_err();
    assert_eq!(refused.to_string(), "1 of the users are there already: `a`");
    let refused = import(vec![cheap("b"), cheap("b")], false, false);
    assert!(matches!(refused, Err(UserFault::Twice(_))));
    let refused = import(vec![cheap("b"), cheap("\n")], false, false);
    assert!(matches!(refused, Err(UserFault::Value { .. })));
    let many = (0..USERS_MAX).map(|n| cheap(&format!("n{n}"))).collect();
    assert!(matches!(
        import(many, false, false),
        Err(UserFault::TooMany)
    ));
    assert_eq!(rig.users.len(), 1);
    let replacement = NewUser {
        note: "new".into(),
        ..cheap("a")
    };
    for (dry_run, note) in [(true, ""), (false, "new")] {
        let reply = import(vec![cheap("b"), replacement.clone()], true, dry_run).unwrap();
        let counts = ImportCounts {
            added: 1,
            replaced: 1,
        };
        assert_eq!(reply, UserReply::Imported(counts));
        assert_eq!(&*rig.report("a").note, note);
    }
    let entry = rig.users.table().get("a").unwrap();
    assert_eq!(entry.record().generation, generation, "the same password");
    assert_eq!(rig.audited().len(), 2);
    assert_eq!(rig.audited()[1].2, "1 added, 1 replaced");
}

#[test]
fn exports_have_everything_and_are_audited() {
    let rig = Rig::new();
    let user = NewUser {
        enabled: false,
        expires_at: Some(2_000_000_000),
        attributes: [("floor".into(), "1".into())].into(),
        note: "x".into(),
        ..cheap("a")
    };
    rig.add(user.clone());
    let reply = rig.apply(&UserRequest::Export {}).unwrap();
    assert_eq!(reply, UserReply::Exported(vec![user]));
    assert_eq!(rig.audited()[1].0, "users-exported");
    assert!(!format!("{reply:?}").contains("$6$"));
    let list = rig.apply(&UserRequest::List {}).unwrap();
    assert!(!serde_json::to_string(&list).unwrap().contains("$6$"));
}
