use super::*;
use std::fs;

fn inputs(directory: &Path) -> EndpointInputs {
    EndpointInputs { docker_config_dir: directory.to_owned(), ..EndpointInputs::default() }
}

/// `docker context create NAME --docker host=HOST` leaves these files.
fn write_context(directory: &Path, name: &str, docker: &str) -> PathBuf {
    let key: String = {
        use sha2::{Digest, Sha256};
        Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let meta = directory.join("contexts/meta").join(&key);
    fs::create_dir_all(&meta).unwrap();
    fs::write(
        meta.join("meta.json"),
        format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{docker}}}}}"#),
    )
    .unwrap();
    directory.join("contexts/tls").join(key).join("docker")
}

fn tcp(address: &str, tls: bool) -> TcpEndpoint {
    match parse_host(address, tls).unwrap() {
        Endpoint::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_given_means_the_local_socket() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(resolve(&inputs(directory.path())).unwrap(), Endpoint::Unix(DEFAULT_SOCKET.into()));
    assert_eq!(resolve(&inputs(Path::new("/nonexistent"))).unwrap(), Endpoint::Unix(DEFAULT_SOCKET.into()));
}

#[test]
fn the_order_is_context_flag_host_flag_docker_host_docker_context_current_context() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["flag", "environment", "current"] {
        write_context(
            directory.path(),
            name,
            &format!(r#"{{"Host":"unix:///{name}","SkipTLSVerify":false}}"#),
        );
    }
    let unix = |path: &str| Endpoint::Unix(path.into());
    let mut given = inputs(directory.path());
    fs::write(directory.path().join("config.json"), r#"{"auths":{},"currentContext":"current"}"#).unwrap();
    assert_eq!(resolve(&given).unwrap(), unix("/current"));
    given.docker_context = Some("environment".into());
    assert_eq!(resolve(&given).unwrap(), unix("/environment"));
    given.docker_host = Some("unix:///host".into());
    assert_eq!(resolve(&given).unwrap(), unix("/host"));
    given.host_flag = Some("unix:///host-flag".into());
    assert_eq!(resolve(&given).unwrap(), unix("/host-flag"));
    given.host_flag = None;
    given.context_flag = Some("flag".into());
    assert_eq!(resolve(&given).unwrap(), unix("/flag"));
    given.context_flag = Some("default".into());
    assert_eq!(resolve(&given).unwrap(), unix("/host"));
    given.docker_host = Some(String::new());
    assert_eq!(resolve(&given).unwrap(), unix(DEFAULT_SOCKET));
}

#[test]
fn host_and_context_flag_together_are_refused() {
    let given = EndpointInputs {
        host_flag: Some("unix:///a".into()),
        context_flag: Some("b".into()),
        ..EndpointInputs::default()
    };
    let error = resolve(&given).unwrap_err();
    assert!(matches!(error, EndpointError::HostAndContext { .. }), "{error}");
}

#[test]
fn an_unknown_context_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let given = EndpointInputs { docker_context: Some("nowhere".into()), ..inputs(directory.path()) };
    let error = resolve(&given).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_broken_configuration_is_an_error_and_not_the_default() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), "{").unwrap();
    assert!(resolve(&inputs(directory.path())).unwrap_err().to_string().contains("config.json"));
}

#[test]
fn a_context_brings_its_own_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let tls =
        write_context(directory.path(), "remote", r#"{"Host":"tcp://example.test","SkipTLSVerify":false}"#);
    let given = EndpointInputs { docker_context: Some("remote".into()), ..inputs(directory.path()) };
    let Endpoint::Tcp(plain) = resolve(&given).unwrap() else { panic!("not tcp") };
    assert_eq!((plain.port, plain.tls), (2375, None));
    fs::create_dir_all(&tls).unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        fs::write(tls.join(name), "").unwrap();
    }
    let Endpoint::Tcp(secure) = resolve(&given).unwrap() else { panic!("not tcp") };
    assert_eq!(secure.port, 2376);
    let settings = secure.tls.unwrap();
    assert!(settings.verify);
    assert_eq!(settings.certificate_authority, Some(tls.join("ca.pem")));
    assert_eq!(settings.client, Some((tls.join("cert.pem"), tls.join("key.pem"))));
}

#[test]
fn tls_follows_the_environment_for_tcp_and_never_for_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let given = EndpointInputs {
        docker_tls_verify: Some("1".into()),
        docker_host: Some("tcp://10.0.0.1".into()),
        docker_cert_path: Some(directory.path().join("certificates")),
        ..inputs(directory.path())
    };
    let Endpoint::Tcp(endpoint) = resolve(&given).unwrap() else { panic!("not tcp") };
    assert_eq!(endpoint.port, 2376);
    let settings = endpoint.tls.unwrap();
    assert_eq!(settings.certificate_authority, Some(directory.path().join("certificates/ca.pem")));
    assert_eq!(settings.client, None);
    let local = EndpointInputs { docker_host: Some("unix:///x.sock".into()), ..given };
    assert_eq!(resolve(&local).unwrap(), Endpoint::Unix("/x.sock".into()));
}

#[test]
fn docker_tls_without_verify_checks_nothing() {
    let given = EndpointInputs {
        docker_tls: Some("1".into()),
        docker_host: Some("tcp://h:1".into()),
        ..EndpointInputs::default()
    };
    let Endpoint::Tcp(endpoint) = resolve(&given).unwrap() else { panic!("not tcp") };
    let settings = endpoint.tls.unwrap();
    assert!(!settings.verify);
    assert_eq!(settings.certificate_authority, None);
}

#[test]
fn tcp_addresses_have_defaults_for_host_and_port() {
    assert_eq!((tcp("tcp://", false).host.as_str(), tcp("tcp://", false).port), ("127.0.0.1", 2375));
    assert_eq!((tcp("tcp://h", true).host.as_str(), tcp("tcp://h", true).port), ("h", 2376));
    assert_eq!((tcp("h:99", false).host.as_str(), tcp("h:99", false).port), ("h", 99));
    assert_eq!((tcp("tcp://:99", false).host.as_str(), tcp("tcp://:99", false).port), ("127.0.0.1", 99));
    assert_eq!((tcp("tcp://[::1]:99", false).host.as_str(), tcp("tcp://[::1]:99", false).port), ("::1", 99));
    assert_eq!(tcp("tcp://h:99/engine/", false).base_path, "/engine");
}

#[test]
fn addresses_print_as_they_are_read() {
    for address in [
        "unix:///var/run/docker.sock",
        "tcp://h:1/base",
        "tcp://[::1]:2375",
        "ssh://me@there:22",
        "ssh://there",
        "ssh://me@there/run/user/1000/docker.sock",
    ] {
        assert_eq!(parse_host(address, false).unwrap().to_string(), address);
    }
}

#[test]
fn wrong_addresses_are_refused_with_the_known_forms() {
    for address in [
        "http://h",
        "tcp://h:port",
        "tcp://h:70000",
        "tcp://u@h",
        "fd://",
        "npipe:////./pipe/docker_engine",
        "ssh://",
        "ssh://u:secret@h",
        "ssh://-oProxyCommand=x",
        "tcp://[::1",
    ] {
        let error = parse_host(address, false).unwrap_err();
        assert!(error.to_string().contains(address), "{error}");
        assert!(error.hint().unwrap().contains("unix://"), "{error}");
    }
}
