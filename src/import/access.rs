//! Who may come in through a port and what they may do.

use std::path::Path;

use super::acl::{self, Acl};
use super::conf::{Listener, Plugin, Security};
use super::lines;
use super::plans::{AuthenticationPlan, AuthorizationPlan, X509Plan};
use super::plugin::{self, PluginPlan, import_command};
use super::port::Writing;
use super::report::{Spot, Verdict};
use super::rules::{ANONYMOUS, RuleText};
use crate::config::MountPoint;

impl Writing<'_> {
    /// Who may come in through a port and what they may do; `None` stands for everybody and everything.
    pub(super) fn access(
        &mut self,
        listener: &Listener,
        mount_point: Option<&MountPoint>,
        is_local: bool,
    ) -> (Option<AuthenticationPlan>, Option<AuthorizationPlan>) {
        let conf = self.conf;
        let security = if conf.per_listener_settings {
            &listener.security
        } else {
            &conf.security
        };
        let plugins: Vec<PluginPlan> = security
            .plugins
            .iter()
            .map(|plugin| self.plugin(plugin))
            .collect();
        let authorization = self.authorization(security, &plugins, mount_point);
        let said = listener.security.allow_anonymous.as_ref();
        let said = said.or(security.allow_anonymous.as_ref());
        let allow_anonymous = said.map_or(is_local, |said| said.value);
        let mut plan = AuthenticationPlan {
            client_id_is_username: listener.client_id_is_username,
            ..AuthenticationPlan::default()
        };
        self.password_method(security, &plugins, &mut plan);
        let is_checked = !plan.methods.is_empty() || security.plugins.iter().len() > 0;
        if self.certificate_method(listener, is_checked, &mut plan) {
            return (Some(plan), authorization);
        }
        if allow_anonymous {
            if !is_checked && authorization.is_none() && !plan.client_id_is_username {
                return (None, None);
            }
            plan.methods.push("anonymous");
            let name = plugins
                .iter()
                .find_map(|plan| plan.anonymous_username.clone());
            plan.anonymous_username = name.filter(|name| name != ANONYMOUS);
            self.note_unchecked_names(security, is_checked, authorization.as_ref());
        } else if plan.methods.is_empty() {
            plan.methods.push("password");
            let how = "nobody may connect there; here neither, until you add users by `fieldgate user add`";
            let verdict = Verdict::Differs { how: how.into() };
            self.report.note(
                listener.spot,
                format!(
                    "{} without allow_anonymous and password_file",
                    listener.line
                ),
                verdict,
            );
        }
        (Some(plan), authorization)
    }

    /// The methods for user names and passwords.
    fn password_method(
        &mut self,
        security: &Security,
        plugins: &[PluginPlan],
        plan: &mut AuthenticationPlan,
    ) {
        let has_password =
            security.password_file.is_some() || plugins.iter().any(|plan| plan.has_password);
        if let Some(file) = &security.password_file {
            self.password_file(&file.value, file.spot);
        }
        plan.http = plugins
            .iter()
            .find_map(|plan| plan.authentication_http.clone());
        // First, whatever the order of the back ends: a server that refuses a user has the last word here.
        if has_password {
            plan.methods.push("password");
        }
        if plan.http.is_some() {
            plan.unknown_user_goes_on = has_password;
            plan.methods.push("http");
        }
    }

    fn password_file(&mut self, path: &Path, spot: Spot) {
        let path = self.options.password_file.as_deref().unwrap_or(path);
        self.report.next(import_command(path));
        if let Err(error) = lines::read_text(path) {
            let why = format!(
                "`{}`: {error}; import its users where it is",
                path.display()
            );
            let line = format!("the file of users {}", path.display());
            if !self.report.has(spot, &line) {
                self.report.note(spot, line, Verdict::Unreadable { why });
            }
        }
    }

    /// Certificates of clients. Whether they are the only way in.
    fn certificate_method(
        &mut self,
        listener: &Listener,
        is_checked: bool,
        plan: &mut AuthenticationPlan,
    ) -> bool {
        let tls = &listener.tls;
        let Some(spot) = tls.require_certificate else {
            return false;
        };
        if tls.identity.is_none() {
            let how = if is_checked {
                "the certificate alone lets a client in, under its common name: methods are alternatives here, and mosquitto asks \
                 for a password besides. Rules are about the common name"
            } else {
                "the user name of a client is the common name of its certificate, which rules are about"
            };
            let verdict = Verdict::Differs { how: how.into() };
            self.report.note(
                spot,
                "require_certificate true without use_identity_as_username",
                verdict,
            );
        }
        plan.methods = vec!["x509"];
        plan.http = None;
        plan.unknown_user_goes_on = false;
        let trust = tls.cafile.iter().chain(&tls.capath);
        plan.x509 = Some(X509Plan {
            trust: trust.map(|path| path.display().to_string()).collect(),
            crls: tls
                .crlfile
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            identity: tls.identity.unwrap_or("common-name"),
        });
        true
    }

    /// Without a file of passwords mosquitto takes every user name on trust.
    fn note_unchecked_names(
        &mut self,
        security: &Security,
        is_checked: bool,
        authorization: Option<&AuthorizationPlan>,
    ) {
        let names_users = authorization.is_some_and(|plan| plan.names_users);
        if let Some(file) = security
            .acl_file
            .as_ref()
            .filter(|_| !is_checked && names_users)
        {
            let how = "nobody checks user names there, so every client is `anonymous` here and the rules of users are for nobody; \
                       add users and the method password";
            self.report.note(
                file.spot,
                "acl_file without a check of passwords",
                Verdict::Differs { how: how.into() },
            );
        }
    }

    fn authorization(
        &mut self,
        security: &Security,
        plugins: &[PluginPlan],
        mount_point: Option<&MountPoint>,
    ) -> Option<AuthorizationPlan> {
        let plugin_file = plugins.iter().find_map(|plan| plan.acl_file.clone());
        let file = security.acl_file.as_ref();
        let spot = file
            .map(|file| file.spot)
            .or(security.plugins.first().map(|p| p.spot));
        let file = file.map(|file| file.value.clone()).or(plugin_file);
        let restricts = file.is_some() || plugins.iter().any(|plan| plan.restricts_topics);
        let prefixes = &self.conf.clientid_prefixes;
        if !restricts && prefixes.is_empty() {
            return None;
        }
        let connect: Vec<String> = match prefixes.as_slice() {
            [] => vec!["*".to_owned()],
            prefixes => prefixes.iter().map(|prefix| format!("{prefix}*")).collect(),
        };
        let mut plan = AuthorizationPlan {
            is_narrow: file.is_some(),
            http: plugins
                .iter()
                .find_map(|plan| plan.authorization_http.clone()),
            ..AuthorizationPlan::default()
        };
        let mut first =
            RuleText::connecting(&connect, "mosquitto lets everybody connect who is known");
        if !restricts {
            first.publish.push("#".to_owned());
            first
                .subscribe
                .extend(["#".to_owned(), "$SYS/#".to_owned()]);
        }
        plan.rules.push(first);
        for plugin in plugins {
            plan.rules.extend(plugin.rules.iter().cloned());
        }
        if let Some(file) = file
            && let Some(acl) = self.acl(&file, spot.unwrap_or_default(), mount_point)
        {
            plan.names_users = acl.names_users;
            plan.rules.extend(acl.rules);
        }
        Some(plan)
    }

    /// The rules of a file, translated once for each mount point.
    fn acl(&mut self, path: &Path, spot: Spot, mount_point: Option<&MountPoint>) -> Option<Acl> {
        let path = self.options.acl_file.as_deref().unwrap_or(path);
        let known = self
            .acls
            .iter()
            .find(|(known, mount, _)| known == path && mount.as_ref() == mount_point);
        if let Some((_, _, acl)) = known {
            return acl.clone();
        }
        let acl = match lines::read_text(path) {
            Ok(text) => {
                let file = self.report.add_file(path);
                Some(acl::translate(&text, file, mount_point, self.report))
            }
            Err(error) => {
                let why = format!(
                    "`{}`: {error}. Nobody may do anything by it yet; add what `fieldgate import mosquitto-acl` makes of it \
                     where it is",
                    path.display()
                );
                let line = format!("the file of rules {}", path.display());
                self.report.note(spot, line, Verdict::Unreadable { why });
                None
            }
        };
        self.acls
            .push((path.to_owned(), mount_point.cloned(), acl.clone()));
        acl
    }

    fn plugin(&mut self, plugin: &Plugin) -> PluginPlan {
        if let Some((_, plan)) = self.plugins.iter().find(|(spot, _)| *spot == plugin.spot) {
            return plan.clone();
        }
        let plan = plugin::translate(self.path, plugin, self.report);
        self.plugins.push((plugin.spot, plan.clone()));
        plan
    }
}
