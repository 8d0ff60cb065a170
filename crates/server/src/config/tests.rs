//! Tests of the configuration.

use std::io::Write;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn environment(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&Given { environment: pairs(variables), ..Given::default() })
}

fn file(text: &str) -> (tempfile::NamedTempFile, Given) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_owned();
    (file, Given { file: Some(path), ..Given::default() })
}

fn shown(config: &Config, name: &str) -> String {
    let setting = settings().iter().find(|setting| setting.name == name).unwrap();
    (setting.show)(config)
}

#[test]
fn the_defaults_of_the_table_are_the_defaults_in_force() {
    let config = Config::defaults();
    for setting in settings() {
        let told = setting.default.replace("{node_num}", "1").replace("{http_port}", "8001");
        if !told.contains(' ') {
            assert_eq!((setting.show)(&config), told, "{}", setting.name);
        }
    }
    assert_eq!(shown(&config, "log_level"), "info");
    assert_eq!(shown(&config, "advertise_host"), "127.0.0.1");
}

#[test]
fn what_a_setting_shows_can_be_read_again() {
    let mut config = Config::defaults();
    for setting in settings() {
        let text = (setting.show)(&config);
        if !text.is_empty() {
            (setting.apply)(&mut config, &text).unwrap();
            assert_eq!((setting.show)(&config), text, "{}", setting.name);
        }
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let (_file, mut given) = file("grpc_port = 1\nhttp_port = 2\npeer_port = 3\n");
    given.environment = pairs(&[("GRPC_PORT", "11"), ("KVORUM_HTTP_PORT", "12")]);
    given.environment.extend(pairs(&[("GOSSIP_PORT", "13"), ("KVORUM_GRPC_PORT", "")]));
    given.flags = pairs(&[("grpc_port", "21")]);
    let config = Config::load(&given).unwrap();
    let ports = [config.grpc_port, config.http_port, config.peer_port, config.resp_port];
    assert_eq!(ports, [21, 12, 3, 6379]);
    let report = config.report();
    for line in [
        "grpc_port = 21\n    from: flag --grpc-port",
        "http_port = 12\n    from: environment KVORUM_HTTP_PORT",
        "resp_port = 6379\n    from: default",
        "peer_port = 3\n    from: file /",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn the_names_of_the_reference_systems_are_understood() {
    let config = environment(&[
        ("NODE_NUM", "2"),
        ("GRPC_PORT", "50052"),
        ("GOSSIP_PORT", "8002"),
        ("PEERS", "localhost:50051,localhost:50053"),
        ("GOSSIP_PEERS", "localhost:8001,localhost:8003"),
        ("REPLICATION_FACTOR", "2"),
        ("TOTAL_NODES", "3"),
        ("SYNC_INTERVAL", "12.5"),
        ("GOSSIP_INTERVAL", "2"),
        ("DEBUG_LOG", "true"),
    ])
    .unwrap();
    let options = config.node_options();
    assert_eq!(options.id.get(), 2);
    assert_eq!(options.name, "node-2");
    assert_eq!(options.data_dir, PathBuf::from("data/node2"));
    assert_eq!(options.peers.len(), 2);
    assert_eq!(options.replication_factor, Some(2));
    assert_eq!(config.logging().0, tracing::Level::DEBUG);
    assert_eq!(config.http_address().port(), 8002);
    assert_eq!(options.gossip_interval, std::time::Duration::from_secs(2));
    assert_eq!(config.from_environment().count(), 10);
}

#[test]
fn impossible_values_are_named_with_their_place_and_what_is_possible() {
    for (name, text, message) in [
        ("GRPC_PORT", "abc", "grpc_port = \"abc\" (environment GRPC_PORT): a port is a number"),
        ("KVORUM_HTTP_PORT", "0", "a port is a number from 1 to 65535"),
        ("NODE_NUM", "0", "a node's number lies between 1 and 1048575"),
        ("KVORUM_MAX_VALUE", "17MiB", "a size from 1 to 16MiB"),
        ("KVORUM_WAL_SYNC", "never", "it is one of auto, inline, thread"),
        ("PEERS", "nonsense", "neither host:port nor id=host:port"),
        ("REPLICATION_FACTOR", "10", "a number from 1 to 9"),
        ("SYNC_INTERVAL", "-1", "a number of seconds"),
        ("GOSSIP_INTERVAL", "0.05", "a number of seconds from 0.1 to 10"),
        ("KVORUM_BIND", "localhost", "an IP address"),
        ("DEBUG_LOG", "maybe", "true or false"),
        ("KVORUM_NAME", "a b", "a name has"),
    ] {
        let error = environment(&[(name, text)]).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains(name), "{error}");
    }
}

#[test]
fn the_secret_comes_from_the_environment_or_a_file_and_is_never_shown() {
    let secret = "a secret of the cluster";
    let config = environment(&[("KVORUM_CLUSTER_SECRET", secret)]).unwrap();
    assert!(config.node_options().cluster_secret.is_some());
    let shown = format!("{config:?} {}", config.report());
    assert!(!shown.contains(secret) && shown.contains("cluster_secret = (set)"), "{shown}");
    assert!(config.from_environment().all(|(.., value)| value == "(set)"));

    let holder = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&holder, format!("{secret}\n")).unwrap();
    let path = holder.path().to_str().unwrap();
    let from_file = environment(&[("KVORUM_CLUSTER_SECRET_FILE", path)]).unwrap();
    assert_eq!(from_file.cluster_secret, config.cluster_secret);

    for (variables, message) in [
        (&[("KVORUM_CLUSTER_SECRET", "fifteen letters")][..], "at least 16 bytes"),
        (&[("KVORUM_CLUSTER_SECRET_FILE", "/nowhere/secret")], "cannot be read"),
        (
            &[("KVORUM_CLUSTER_SECRET", secret), ("KVORUM_CLUSTER_SECRET_FILE", path)],
            "cluster_secret is set as well",
        ),
    ] {
        let error = environment(variables).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!error.contains("fifteen letters") && !error.contains(secret), "{error}");
    }
}

#[test]
fn gossip_uses_the_number_of_the_http_port_unless_told_otherwise() {
    let port = |variables| {
        let options = environment(variables).unwrap().node_options();
        assert_eq!(options.advertised.gossip_port, options.gossip_listen.port());
        options.gossip_listen.port()
    };
    assert_eq!(port(&[]), 8001);
    assert_eq!(port(&[("GOSSIP_PORT", "8002")]), 8002);
    assert_eq!(port(&[("GOSSIP_PORT", "8002"), ("KVORUM_GOSSIP_PORT", "9002")]), 9002);
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    for (variables, message) in [
        (&[("GRPC_PORT", "8001")][..], "grpc_port and http_port are both 8001"),
        (&[("KVORUM_BIND", "0.0.0.0")], "say insecure"),
        (&[("KVORUM_BIND", "0.0.0.0"), ("KVORUM_INSECURE", "1")], "set advertise_host"),
        (&[("TOTAL_NODES", "3")], "total_nodes is 3, but peers names 0 nodes"),
        (&[("REPLICATION_FACTOR", "3"), ("PEERS", "a:1")], "at most 2 nodes"),
        (&[("KVORUM_MAX_VALUE", "16MiB"), ("KVORUM_SEGMENT_SIZE", "64MiB")], "a quarter"),
        (&[("KVORUM_COMPAT_KEYSPACE", "elsewhere")], "there are default and eventual"),
        (&[("KVORUM_MAX_DISK", "100MiB")], "eight segments, 512MiB"),
    ] {
        let error = environment(variables).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_container_advertises_its_host_name() {
    let config = environment(&[
        ("KVORUM_BIND", "0.0.0.0"),
        ("KVORUM_INSECURE", "true"),
        ("HOSTNAME", "kvorum-0"),
    ]);
    assert_eq!(config.unwrap().node_options().advertised.host, "kvorum-0");
}

#[test]
fn files_with_mistakes_are_named_with_the_line_or_the_setting() {
    for (text, message) in [
        ("grpc_port = 1\nhttp_port = \n", "line 2: "),
        ("grpc_prt = 1\n", "there is no setting \"grpc_prt\" (file /"),
        ("[peers]\na = 1\n", "a text, a number, a truth value or a list of texts"),
        ("grpc_port = 70000\n", "a port is a number"),
    ] {
        let (_file, given) = file(text);
        let error = Config::load(&given).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let given = Given { file: Some("/nowhere/k.toml".into()), ..Given::default() };
    let error = Config::load(&given).unwrap_err().to_string();
    assert!(error.contains("/nowhere/k.toml cannot be read"), "{error}");
}

#[test]
fn a_list_in_the_file_is_a_list_of_peers() {
    let (_file, given) = file("peers = [\"1=a:1\", \"2=b:2\"]\n");
    assert_eq!(Config::load(&given).unwrap().peers.len(), 2);
}

#[test]
fn unknown_variables_with_our_prefix_are_told_and_do_no_harm() {
    let config = environment(&[
        ("KVORUM_SERVICE_HOST", "10.0.0.1"),
        ("KVORUM_CONFIG", ""),
        ("KVORUM_ENDPOINT", "10.0.0.1:50051"),
    ]);
    let config = match config {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(config.unknown_variables(), ["KVORUM_SERVICE_HOST"]);
    assert!(config.report().contains("KVORUM_SERVICE_HOST in the environment is no setting"));
}

#[test]
fn the_documents_are_in_step_with_the_table() {
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
    for (name, made) in [("configuration.md", markdown()), ("kvorum.example.toml", example())] {
        let path = docs.join(name);
        if std::env::var_os("KVORUM_BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, made, "run the tests of kvorum-server once with KVORUM_BLESS=1");
    }
}

#[test]
fn the_example_is_a_valid_file_when_its_settings_are_taken_in() {
    let live: String = example()
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' ') && !line.ends_with("\"\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let (_file, given) = file(&live);
    let config = Config::load(&given).unwrap();
    assert_eq!(shown(&config, "max_value"), "1MiB");
}
