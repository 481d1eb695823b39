//! Certificates that come late, change, or are bad.

use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_port_awaits_its_certificate_while_others_serve() {
    let authority = Authority::new("root", ECDSA);
    let leaf = authority.issue("late");
    let files = Files::empty();
    let world = World::with(vec![
        tls_port("127.0.0.1", files.settings()),
        port("127.0.0.2"),
    ])
    .await;
    let status = world.status(0);
    assert!(awaits_certificate(&status), "{status:?}");
    assert_eq!(status.address, None);
    assert!(status.certificate_fault.is_none() && status.certificate.is_none());
    line(&mut world.connect(1).await).await;

    std::fs::write(files.cert(), &leaf.cert).unwrap();
    world
        .wait_for(0, |status| match &status.state {
            PortState::AwaitingCertificate { reason } => reason.contains("server.key"),
            _ => false,
        })
        .await;
    std::fs::write(files.key(), &leaf.key).unwrap();
    let status = world.wait_for(0, listens).await;
    let shown = subject_shown(&fresh(&authority), status.address.unwrap()).await;
    assert_eq!(shown, "CN=late");
}

#[tokio::test]
async fn a_certificate_is_swapped_without_dropping_a_connection() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "old");
    let world = World::with(vec![tls_port("127.0.0.1", files.settings())]).await;
    let connector = fresh(&authority);
    let mut client = connect_tls(&connector, world.connect(0).await)
        .await
        .unwrap();
    line(&mut client).await;

    let leaf = authority.issue("new");
    files.write(&leaf.cert, &leaf.key);
    let subject = |status: &PortStatus| status.certificate.as_ref().map(|c| c.subject.clone());
    world
        .wait_for(0, |status| subject(status).as_deref() == Some("CN=new"))
        .await;
    assert_eq!(
        subject_shown(&fresh(&authority), world.address(0)).await,
        "CN=new"
    );
    assert!(echoes(&mut client).await);

    // A bad file changes nothing, and says so.
    std::fs::write(files.cert(), "nothing").unwrap();
    let status = world
        .wait_for(0, |status| status.certificate_fault.is_some())
        .await;
    assert!(
        status
            .certificate_fault
            .unwrap()
            .ends_with("holds no certificate")
    );
    assert_eq!(
        subject_shown(&fresh(&authority), world.address(0)).await,
        "CN=new"
    );
    assert!(echoes(&mut client).await);
}

#[tokio::test]
async fn a_renewed_secret_of_kubernetes_is_taken_into_use() {
    let authority = Authority::new("root", ECDSA);
    let folder = Files::empty();
    for (version, name) in [("..1", "old"), ("..2", "new")] {
        let leaf = authority.issue(name);
        std::fs::create_dir(folder.path().join(version)).unwrap();
        let at = |file: &str| folder.path().join(version).join(file);
        std::fs::write(at("server.crt"), leaf.cert).unwrap();
        std::fs::write(at("server.key"), leaf.key).unwrap();
    }
    let at = |name: &str| folder.path().join(name);
    symlink("..1", at("..data")).unwrap();
    symlink("..data/server.crt", folder.cert()).unwrap();
    symlink("..data/server.key", folder.key()).unwrap();
    let world = World::with(vec![tls_port("127.0.0.1", folder.settings())]).await;
    assert_eq!(
        subject_shown(&fresh(&authority), world.address(0)).await,
        "CN=old"
    );

    symlink("..2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    world
        .wait_for(0, |status| {
            status
                .certificate
                .as_ref()
                .is_some_and(|c| c.subject == "CN=new")
        })
        .await;
    assert_eq!(
        subject_shown(&fresh(&authority), world.address(0)).await,
        "CN=new"
    );
}

#[tokio::test]
async fn other_files_are_taken_when_they_can_be_used() {
    let authority = Authority::new("root", ECDSA);
    let (first, second) = (files_of(&authority, "first"), Files::empty());
    let mut world = World::with(vec![tls_port("127.0.0.1", first.settings())]).await;
    let address = world.address(0);
    let mut client = connect_tls(&fresh(&authority), world.connect(0).await)
        .await
        .unwrap();
    line(&mut client).await;

    world
        .apply(vec![tls_port("127.0.0.1", second.settings())])
        .await;
    world
        .wait_for(0, |status| status.certificate_fault.is_some())
        .await;
    assert_eq!(subject_shown(&fresh(&authority), address).await, "CN=first");

    let leaf = authority.issue("second");
    second.write(&leaf.cert, &leaf.key);
    world
        .wait_for(0, |status| status.certificate_fault.is_none())
        .await;
    assert_eq!(
        subject_shown(&fresh(&authority), address).await,
        "CN=second"
    );
    assert!(echoes(&mut client).await);
}

/// Connects and says whose certificate was shown.
async fn subject_shown(connector: &TlsConnector, to: SocketAddr) -> String {
    let socket = TcpStream::connect(to).await.unwrap();
    let client = connect_tls(connector, socket).await.unwrap();
    let certificates = client.get_ref().1.peer_certificates().unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&certificates[0]).unwrap();
    leaf.subject().to_string()
}
