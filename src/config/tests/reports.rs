//! One bad value, one test. Each file of `tests/golden/config` holds a configuration and, below a line, the whole report.

use std::collections::BTreeSet;

use super::{compare, root};
use crate::config::load::load_text;
use crate::config::{Paint, Report};

const LINE: &str = "=== report ===\n";

/// Reads the configuration of a file and compares the report with what stands below it.
fn check(name: &str) {
    let path = format!("tests/golden/config/{name}.txt");
    let file = std::fs::read_to_string(root().join(&path)).unwrap();
    let (text, _) = file.split_once(LINE).unwrap();
    let report = match load_text("gateway.toml".as_ref(), text) {
        Err(report) => report,
        Ok(loaded) => Report {
            faults: loaded.warnings,
            omitted: 0,
        },
    };
    assert!(!report.faults.is_empty(), "nothing was found");
    let is_warning = name.starts_with("warning_");
    assert_eq!(report.errors().next().is_none(), is_warning, "{report}");
    compare(
        &path,
        &format!("{text}{LINE}{}", report.render(Paint::Plain)),
    );
}

macro_rules! reports {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

reports! {
    access_aclcheck_path_in_authentication,
    access_anonymous_username_empty,
    access_api_server_ca_alone,
    access_api_server_in_clear_text,
    access_attributes_are_numbers,
    access_attributes_are_text,
    access_attributes_without_a_name,
    access_audiences_empty,
    access_audiences_missing,
    access_client_cert_without_key,
    access_client_id,
    access_getuser_path_missing,
    access_getuser_path_without_slash,
    access_headers,
    access_headers_is_text,
    access_host_of_another_broker,
    access_identity,
    access_key_of_another_broker,
    access_method_is_no_table,
    access_method_not_in_the_list,
    access_method_without_settings,
    access_method_without_tls,
    access_methods_empty,
    access_methods_is_text,
    access_methods_missing,
    access_methods_twice,
    access_methods_unknown,
    access_name_in_capitals,
    access_name_in_double_brackets,
    access_name_is_missing,
    access_name_is_none,
    access_params_of_auth_plug,
    access_password_unknown_user,
    access_protocol,
    access_reference_above_the_first_table,
    access_reference_to_another_name,
    access_reference_with_a_typing_error,
    access_root_in_double_brackets,
    access_section_is_text,
    access_server_out_of_bounds,
    access_subject_is_a_name,
    access_subject_missing,
    access_trust_is_a_certificate,
    access_trust_is_empty,
    access_trust_is_relative,
    access_trust_is_text,
    access_url_is_number,
    access_url_missing,
    access_url_of_another_kind,
    access_url_of_the_custom_server,
    access_url_port,
    access_url_with_query,
    access_url_without_scheme,
    access_url_without_tls_and_ca,
    conflict_admin_port,
    conflict_admin_port_by_default,
    conflict_bind_with_path,
    conflict_control_socket,
    conflict_est_admin,
    conflict_est_both,
    conflict_est_port,
    conflict_listener_name_twice,
    conflict_mode_with_port,
    conflict_node_port_twice,
    conflict_node_port_without_node_port,
    conflict_port_and_path,
    conflict_port_used_in_two_listeners,
    conflict_port_used_twice,
    conflict_port_zero_twice,
    conflict_socket_used_twice,
    conflict_systemd_used_twice,
    conflict_websocket_path_with_mqtt,
    est_attempts_out_of_bounds,
    est_https_is_a_port,
    everything_at_once,
    key_allow_anonymous,
    key_before_the_first_table,
    key_before_the_first_table_of_nothing,
    key_in_another_spelling,
    key_in_capitals,
    key_in_limits_of_nothing,
    key_of_another_broker,
    key_of_another_table,
    key_of_limits_in_a_port,
    key_of_nothing,
    key_of_the_gateway_in_a_port_limit,
    key_password_is_not_shown,
    key_ssl,
    key_with_a_typing_error,
    missing_authentication,
    missing_authorization,
    missing_everything,
    missing_listener,
    missing_listener_above_a_port,
    missing_listener_name,
    missing_place_of_a_port,
    missing_port_of_a_listener,
    missing_ports_in_a_list,
    missing_tls_cert_and_key,
    missing_tls_mode,
    protection_ban_longer_than_the_longest,
    protection_networks,
    protection_networks_is_text,
    protection_out_of_bounds,
    rule_attributes_empty,
    rule_attributes_is_table,
    rule_choices_of_the_set,
    rule_client_id_pattern,
    rule_effect,
    rule_everyone_and_a_list,
    rule_http_without_path,
    rule_in_single_brackets,
    rule_in_the_plural,
    rule_key_with_a_typing_error,
    rule_missing,
    rule_of_deny_with_limits,
    rule_out_of_bounds,
    rule_principals_is_text,
    rule_principals_missing,
    rule_principals_of_nobody,
    rule_token_not_alone,
    rule_token_unknown,
    rule_topic,
    rule_usernames_is_text,
    secret_in_a_header,
    secret_in_a_rule,
    secret_in_a_table_of_headers,
    secret_in_a_url,
    secret_in_a_url_that_is_wrong,
    secret_in_attributes,
    secret_of_a_server,
    secret_password_file,
    secret_password_of_a_section,
    secret_tables_of_users,
    secret_token,
    secret_user_in_the_section_of_passwords,
    syntax_address_without_quotes,
    syntax_backslash_in_text,
    syntax_carriage_return_alone,
    syntax_colon,
    syntax_comma_at_the_end,
    syntax_comma_missing_in_table,
    syntax_control_character,
    syntax_header_not_closed,
    syntax_header_of_a_table_not_closed,
    syntax_json,
    syntax_key_alone,
    syntax_key_twice,
    syntax_key_with_space,
    syntax_key_with_umlaut,
    syntax_leading_zero,
    syntax_list_not_closed,
    syntax_listener_in_single_brackets_twice,
    syntax_mode_with_leading_zero,
    syntax_mosquitto,
    syntax_nested_too_deeply,
    syntax_no_equals_sign,
    syntax_no_value,
    syntax_number_and_semicolon,
    syntax_quote_not_closed,
    syntax_semicolon_at_the_end,
    syntax_size_without_quotes,
    syntax_slashes_as_comment,
    syntax_table_not_closed,
    syntax_table_twice,
    syntax_text_of_lines_not_closed,
    syntax_text_without_quotes,
    syntax_true_in_capitals,
    syntax_two_errors_and_a_wrong_value,
    syntax_two_keys_in_a_line,
    syntax_two_numbers,
    syntax_typographic_quotes,
    syntax_word_without_quotes,
    syntax_words_without_comment_sign,
    syntax_yaml,
    syntax_yes,
    table_in_the_plural,
    table_not_available,
    table_of_nothing,
    table_port_without_listener,
    table_ports_in_the_plural,
    table_tls_in_a_listener,
    table_with_a_typing_error,
    type_authentication_is_switch,
    type_bind_is_list,
    type_bind_is_number,
    type_date,
    type_gateway_is_text,
    type_http_is_number,
    type_limits_is_number,
    type_listener_in_single_brackets,
    type_listener_is_text,
    type_name_is_number,
    type_port_in_listener,
    type_port_in_single_brackets,
    type_port_is_fraction,
    type_port_is_list,
    type_port_is_text,
    type_ports_are_numbers,
    type_qos_is_text,
    type_switch_is_number,
    type_switch_is_text,
    type_tls_is_switch,
    value_authentication_names_nothing,
    value_authorization_names_nothing,
    value_bind_in_brackets,
    value_bind_is_a_host_name,
    value_bind_is_a_network,
    value_bind_is_a_star_with_port,
    value_bind_is_an_interface,
    value_bind_is_link_local,
    value_bind_is_localhost,
    value_bind_is_mapped,
    value_bind_is_multicast,
    value_bind_out_of_range,
    value_bind_with_port,
    value_bind_with_scope,
    value_count_is_negative,
    value_count_is_text,
    value_gateway_name,
    value_http,
    value_http_is_address,
    value_http_is_port,
    value_interface,
    value_keep_alive_too_long,
    value_key_is_the_key_itself,
    value_listener_name_in_capitals,
    value_listener_name_too_long,
    value_listener_name_too_short,
    value_log_level,
    value_mount_point_of_the_broker,
    value_mount_point_with_wildcard,
    value_packet_too_large,
    value_packet_too_small,
    value_path_is_empty,
    value_path_is_relative,
    value_path_is_windows,
    value_path_with_tilde,
    value_port_beyond_all_numbers,
    value_port_connections_zero,
    value_port_negative,
    value_port_too_large,
    value_protocol,
    value_protocol_far_away,
    value_qos,
    value_queue_overflow,
    value_receive_maximum_zero,
    value_service_name,
    value_service_type,
    value_size_is_a_word,
    value_size_too_small_for_bytes,
    value_size_with_fraction,
    value_size_without_unit_letter,
    value_socket_mode_decimal,
    value_socket_mode_letters,
    value_socket_mode_too_large,
    value_socket_path_is_a_folder,
    value_socket_path_too_long,
    value_store,
    value_systemd,
    value_time_below_a_second,
    value_time_in_capitals,
    value_time_is_a_word,
    value_time_is_false,
    value_time_too_long,
    value_time_with_unknown_unit,
    value_time_without_unit,
    value_tls_automatic_duration,
    value_tls_automatic_with_files,
    value_tls_client_ca,
    value_tls_mode,
    value_tls_version,
    value_tls_version_is_number,
    value_websocket_path,
    warning_access_that_no_port_names,
    warning_anonymous_before_others,
    warning_client_takes_all,
    warning_connections_of_a_port,
    warning_node_port_unusual,
    warning_passwords_in_clear_text,
    warning_plain_text_on_a_port_for_tls,
    warning_port_zero,
    warning_queue_smaller_than_packet,
    warning_rule_of_a_star,
    warning_rule_of_nobody,
    warning_rule_of_nothing,
    warning_rule_of_other_brokers,
    warning_rule_rate_without_publish,
    warning_rules_of_client_ids_without_proof,
    warning_rules_without_connect,
    warning_rules_without_names,
    warning_service_name_twice,
    warning_service_type_twice,
    warning_tokens_in_clear_text,
}

#[test]
fn every_report_has_a_test() {
    let folder = root().join("tests/golden/config");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let tests: BTreeSet<String> = NAMES.iter().map(|name| format!("{name}.txt")).collect();
    assert_eq!(files, tests);
}

#[test]
fn the_machine_form_of_a_report() {
    let text = "[[listener]]\nname = \"plant\"\n[[listener.port]]\nprot = 1\nauthentication = \"none\"\nauthorization = \"none\"\n";
    let report = load_text("gateway.toml".as_ref(), text).unwrap_err();
    let expected = serde_json::json!({
        "faults": [{
            "severity": "error",
            "code": "unknown-key",
            "key": "listener[0].port[0].prot",
            "message": "[[listener.port]] has no key `prot`",
            "place": { "file": "gateway.toml", "line": 4, "column": 1, "text": "prot = 1" },
            "hint": "write `port`",
        }],
        "omitted": 0,
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    let line = "gateway.toml:4:1: [[listener.port]] has no key `prot` (hint: write `port`)";
    assert_eq!(report.faults[0].to_string(), line);
}

/// Programs act on these; a new one may be added, none may change.
#[test]
fn codes_of_faults_stay_what_they_are() {
    use crate::config::FaultCode as Code;
    let codes = [
        Code::Unreadable,
        Code::NotText,
        Code::Syntax,
        Code::UnknownKey,
        Code::WrongType,
        Code::BadValue,
        Code::MissingKey,
        Code::Duplicate,
        Code::MissingReference,
        Code::Conflict,
        Code::NotAvailable,
        Code::Secret,
        Code::NoEffect,
        Code::Surprising,
    ];
    let names = codes.map(|code| serde_json::to_value(code).unwrap());
    let expected = [
        "unreadable",
        "not-text",
        "syntax",
        "unknown-key",
        "wrong-type",
        "bad-value",
        "missing-key",
        "duplicate",
        "missing-reference",
        "conflict",
        "not-available",
        "secret",
        "no-effect",
        "surprising",
    ];
    assert_eq!(names, expected);
}

#[test]
fn colour_changes_no_word() {
    let report = load_text("gateway.toml".as_ref(), "[limits]\nmaximum_qos = 3\n").unwrap_err();
    let coloured = report.render(Paint::Colour);
    assert!(coloured.contains("\u{1b}[1;31m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, report.render(Paint::Plain));
}

/// A file may hold what a terminal would act on; neither the line that is shown nor a sentence about it may.
#[test]
fn nothing_in_a_report_moves_a_terminal() {
    for text in [
        "[gateway]\nna\u{1b}me = \"x\"\n",
        "[gateway]\nname = x\u{1b}y\n",
        "[gate\u{1b}way]\n",
        "[gateway]\n\"na\u{202e}me\" = 1\n",
        "[gateway]\nname = \"a\\u001bb\"\n",
    ] {
        let Err(report) = load_text("gateway.toml".as_ref(), text) else {
            panic!("{text:?} is taken");
        };
        let rendered = report.render(Paint::Plain);
        let unsafe_char = rendered
            .chars()
            .find(|c| *c == '\u{202e}' || c.is_control() && *c != '\n');
        assert_eq!(unsafe_char, None, "{rendered:?}");
    }
}
