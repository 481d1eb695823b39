//! The method `password`: users of the local database.

use std::sync::Arc;
use std::time::Instant;

use super::users::Verdict;
use super::{
    Acceptance, Access, Credential, Credentials, Outcome, Refused, Standing, Unavailable, Users,
};
use crate::config::{PasswordSettings, UnknownUser};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// Asks the local users.
#[derive(Debug)]
pub(super) struct Password {
    users: Arc<Users>,
    unknown_user: UnknownUser,
}

impl Password {
    pub(super) fn new(settings: &PasswordSettings, access: &Access) -> Self {
        Self {
            users: Arc::clone(access.users()),
            unknown_user: settings.unknown_user,
        }
    }

    pub(super) async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        let (None, Some(username), Some(password)) = (
            credentials.method,
            credentials.username,
            credentials.password,
        ) else {
            return Outcome::NotMine;
        };
        let refused = |sentence: &'static str| {
            Refused::new(ReasonCode::BadUserNameOrPassword, sentence).into()
        };
        match self.users.verify(username, password).await {
            Verdict::Right {
                principal,
                generation,
                expires_at,
            } => Outcome::Accepted(Acceptance {
                principal,
                expires_at,
                data: None,
                credential: Credential::Password { generation },
                method: "",
            }),
            Verdict::UnknownUser if self.unknown_user == UnknownUser::NextMethod => {
                Outcome::NotMine
            }
            Verdict::UnknownUser => refused("there is no such user"),
            Verdict::WrongPassword => refused("the password is wrong"),
            Verdict::Disabled => refused("the user is disabled"),
            Verdict::Expired => refused("the time of the user is over"),
            Verdict::Unavailable(sentence) => Outcome::Unavailable(Unavailable::new(sentence)),
        }
    }

    pub(super) fn end(&self, principal: &Principal) -> Option<Instant> {
        self.users.end(&principal.username)
    }

    pub(super) fn review(&self, credential: &Credential, principal: &Principal) -> Standing {
        match credential {
            Credential::Password { generation } => self.users.review(*generation, principal),
            Credential::Lasting | Credential::Certificate(_) => {
                Standing::Gone("The client has shown no password")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::users::{PasswordHash, RequestHash, UserRequest};
    use crate::config::{ProtectionSettings, StoreSettings};
    use crate::store::{Jobs, Store, UserRecord};

    fn access() -> (tempfile::TempDir, Access) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(crate::clock::wall);
        let opened = Store::open(folder.path(), &StoreSettings::default(), clock).unwrap();
        let record = |username: &str, enabled, expires_at| UserRecord {
            username: username.into(),
            hash: PasswordHash::new(b"a good password")
                .unwrap()
                .as_str()
                .into(),
            generation: 3,
            attributes: [("floor".into(), "1".into())].into(),
            enabled,
            expires_at,
            note: "".into(),
            created_at: 1,
            last_seen_at: None,
        };
        let records = vec![
            record("press", true, None),
            record("off", false, None),
            record("over", true, Some(5)),
        ];
        let users = Arc::new(Users::new(records, Jobs::own(opened.writer)));
        let device = Arc::new(crate::ca::DeviceAuthority::none(folder.path()));
        let access = Access::new(folder.path(), users, device, &ProtectionSettings::default());
        (folder, access)
    }

    fn login<'a>(username: &'a str, password: &'a str) -> Credentials<'a> {
        Credentials {
            username: Some(username),
            password: Some(password.as_bytes()),
            ..Credentials::default()
        }
    }

    fn sentence(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Refused(refused) => {
                assert_eq!(refused.reason, ReasonCode::BadUserNameOrPassword);
                &refused.sentence
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_user_name_with_password_is_for_this_method() {
        let (_folder, access) = access();
        let method = Password::new(&PasswordSettings::default(), &access);
        let whole = login("press", "a good password");
        for credentials in [
            Credentials {
                username: None,
                ..whole
            },
            Credentials {
                password: None,
                ..whole
            },
            Credentials {
                method: Some("K8S-SAT"),
                ..whole
            },
        ] {
            let outcome = method.begin(&credentials).await;
            assert!(matches!(outcome, Outcome::NotMine), "{outcome:?}");
        }
        let outcome = method.begin(&whole).await;
        let Outcome::Accepted(acceptance) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(&*acceptance.principal.username, "press");
        assert_eq!(&*acceptance.principal.attributes["floor"], "1");
        let credential = Credential::Password { generation: 3 };
        assert_eq!(acceptance.credential, credential);
        let principal = &acceptance.principal;
        assert_eq!(method.review(&credential, principal), Standing::Same);
        let lasting = method.review(&Credential::Lasting, principal);
        assert!(matches!(lasting, Standing::Gone(_)));
        let request = UserRequest::Password {
            username: "press".into(),
            hash: RequestHash(PasswordHash::new(b"another").unwrap().as_str().into()),
        };
        let actor = crate::auth::users::Actor {
            name: "uid 0".into(),
            peer: "test".into(),
        };
        access.users().apply(&request, &actor).unwrap();
        let gone = method.review(&credential, principal);
        assert_eq!(gone, Standing::Gone("The password was changed"));
    }

    #[tokio::test]
    async fn refusals_differ_for_the_journal_only() {
        let (_folder, access) = access();
        let method = Password::new(&PasswordSettings::default(), &access);
        for (username, password, expected) in [
            ("nobody", "a good password", "there is no such user"),
            ("press", "a bad password", "the password is wrong"),
            ("press", "", "the password is wrong"),
            ("off", "a bad password", "the password is wrong"),
            ("off", "a good password", "the user is disabled"),
            ("over", "a bad password", "the password is wrong"),
            ("over", "a good password", "the time of the user is over"),
        ] {
            let outcome = method.begin(&login(username, password)).await;
            assert_eq!(sentence(&outcome), expected, "{username}");
        }
    }

    #[tokio::test]
    async fn unknown_user_may_be_left_to_the_next_method_after_the_same_work() {
        let (_folder, access) = access();
        let settings = PasswordSettings {
            unknown_user: UnknownUser::NextMethod,
        };
        let method = Password::new(&settings, &access);
        let outcome = method.begin(&login("nobody", "x")).await;
        assert!(matches!(outcome, Outcome::NotMine), "{outcome:?}");
        assert_eq!(access.users().passwords_checked(), 1);
        let outcome = method.begin(&login("press", "x")).await;
        assert_eq!(sentence(&outcome), "the password is wrong");
    }
}
