//! What is answered, and over real sockets.

use super::{DnsSockets, Zone, answer, serve};
use crate::{api::fixture, snapshot::Snapshot};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use navigator_core::health::Health;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::watch,
    time::timeout,
};

type Test = anyhow::Result<()>;

fn zone() -> anyhow::Result<Zone> {
    Ok(Zone {
        domain: Name::from_ascii("nav.example.")?,
        ttl: Duration::from_secs(5),
    })
}

fn question(name: &str, kind: RecordType) -> anyhow::Result<Message> {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name)?, kind));
    Ok(question)
}

/// With a healthy IPv6 instance, too, and many of another service.
fn snapshot() -> Snapshot {
    let mut snapshot = fixture::snapshot();
    let service = Arc::make_mut(&mut snapshot.services[0]);
    let mut v6 = service.instances[0].clone();
    v6.address = ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 8080).into();
    v6.order.weight = Some(7);
    service.instances.push(v6);
    let mut many = service.clone();
    many.name = "many".to_owned();
    let one = many.instances[0].clone();
    many.instances = (1..=200)
        .map(|last| {
            let mut other = one.clone();
            other.address = ([10, 1, 0, last], 80).into();
            other
        })
        .collect();
    let mut sick = service.clone();
    sick.name = "sick".to_owned();
    for instance in &mut sick.instances {
        instance.health = Health::Unhealthy;
    }
    snapshot.services.insert(0, Arc::new(many));
    snapshot.services.insert(1, Arc::new(sick));
    snapshot
}

fn ask(name: &str, kind: RecordType) -> anyhow::Result<Message> {
    Ok(answer::answer(
        &question(name, kind)?,
        &snapshot(),
        &zone()?,
    ))
}

fn shown(answer: &Message) -> Vec<String> {
    let records = answer.answers.iter();
    records
        .map(|record| match &record.data {
            RData::A(ip) => ip.to_string(),
            RData::AAAA(ip) => ip.to_string(),
            RData::SRV(server) => format!(
                "{} {} {} {}",
                server.priority, server.weight, server.port, server.target
            ),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn only_instances_that_take_new_clients_are_told() -> Test {
    let answer = ask("web.nav.example.", RecordType::A)?;
    assert_eq!(shown(&answer), ["10.0.0.1"]);
    assert!(answer.metadata.authoritative);
    assert_eq!(answer.answers[0].ttl, 5);
    assert_eq!(
        shown(&ask("WEB.Nav.example.", RecordType::AAAA)?),
        ["2001:db8::1"]
    );
    let target = "20010db8000000000000000000000001.addr.nav.example.";
    let mut servers = shown(&ask("web.nav.example.", RecordType::SRV)?);
    servers.sort();
    assert_eq!(
        servers,
        [
            "0 100 80 0a000001.addr.nav.example.".to_owned(),
            format!("0 7 8080 {target}")
        ]
    );
    let named = ask("_web._tcp.nav.example.", RecordType::SRV)?;
    assert_eq!((named.answers.len(), named.additionals.len()), (2, 2));
    assert_eq!(shown(&ask(target, RecordType::AAAA)?), ["2001:db8::1"]);
    assert_eq!(
        shown(&ask("0a000001.addr.nav.example.", RecordType::A)?),
        ["10.0.0.1"]
    );
    Ok(())
}

#[test]
fn nothing_here_is_told_from_nothing_of_this_kind() -> Test {
    use ResponseCode::{NXDomain, NoError, Refused};
    for (name, kind, code) in [
        ("none.nav.example.", RecordType::A, NXDomain),
        ("sick.nav.example.", RecordType::A, NoError),
        ("web.nav.example.", RecordType::MX, NoError),
        ("_web._tcp.nav.example.", RecordType::A, NoError),
        ("_none._tcp.nav.example.", RecordType::SRV, NXDomain),
        ("nav.example.", RecordType::A, NoError),
        ("addr.nav.example.", RecordType::A, NoError),
        ("0a000009.addr.nav.example.", RecordType::A, NXDomain),
        ("x.web.nav.example.", RecordType::A, NXDomain),
        ("web.elsewhere.", RecordType::A, Refused),
    ] {
        let answer = ask(name, kind)?;
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert!(answer.answers.is_empty(), "{name} {kind}");
        let authority = usize::from(code != Refused);
        assert_eq!(answer.authorities.len(), authority, "{name} {kind}");
    }
    let mut starting = snapshot();
    starting.registry.synced = false;
    let early = question("web.nav.example.", RecordType::A)?;
    let answer = answer::answer(&early, &starting, &zone()?);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    Ok(())
}

#[test]
fn what_is_no_simple_question_is_refused() -> Test {
    let mut two = question("web.nav.example.", RecordType::A)?;
    two.add_query(Query::query(
        Name::from_ascii("web.nav.example.")?,
        RecordType::A,
    ));
    let answered = |question: &Message| anyhow::Ok(answer::answer(question, &snapshot(), &zone()?));
    assert_eq!(
        answered(&two)?.metadata.response_code,
        ResponseCode::FormErr
    );
    let mut update = question("web.nav.example.", RecordType::A)?;
    update.metadata.op_code = OpCode::Update;
    assert_eq!(
        answered(&update)?.metadata.response_code,
        ResponseCode::NotImp
    );
    let mut newer = question("web.nav.example.", RecordType::A)?;
    newer.set_edns(Edns::new().set_version(1).clone());
    assert_eq!(
        answered(&newer)?.metadata.response_code,
        ResponseCode::BADVERS
    );
    assert!(answer::malformed(&[0; 11]).is_none());
    assert!(
        answer::malformed(&[0x80; 40]).is_none(),
        "an answer is not answered"
    );
    Ok(())
}

async fn start() -> anyhow::Result<(SocketAddr, watch::Sender<(u64, Arc<Snapshot>)>)> {
    let sockets = DnsSockets::bind("127.0.0.1:0".parse()?).await?;
    let address = sockets.local_addr()?;
    let (sender, receiver) = watch::channel((7, Arc::new(snapshot())));
    tokio::spawn(serve(sockets, zone()?, receiver));
    Ok((address, sender))
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_asked_for_by_tcp() -> Test {
    let (address, _snapshots) = start().await?;
    let question = question("many.nav.example.", RecordType::A)?.to_vec()?;
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.send_to(&question, address).await?;
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await??;
    assert!(length <= 512);
    let short = Message::from_vec(&buffer[..length])?;
    assert!(short.metadata.truncation && short.answers.is_empty());

    let mut stream = TcpStream::connect(address).await?;
    let length = u16::try_from(question.len())?;
    stream
        .write_all(&[&length.to_be_bytes()[..], &question].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    let whole = Message::from_vec(&answer)?;
    assert_eq!(
        (whole.answers.len(), whole.metadata.truncation),
        (200, false)
    );
    Ok(())
}

#[tokio::test]
async fn rubbish_ends_nothing() -> Test {
    let (address, _snapshots) = start().await?;
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let good = question("web.nav.example.", RecordType::A)?.to_vec()?;
    for cut in 0..good.len() {
        socket.send_to(&good[..cut], address).await?;
    }
    let mut answers = good.clone();
    answers[2] |= 0x80;
    socket.send_to(&answers, address).await?;
    let mut last = good.clone();
    last[0..2].copy_from_slice(&[0xab, 0xcd]);
    socket.send_to(&last, address).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await??;
        let answer = Message::from_vec(&buffer[..length])?;
        if answer.metadata.id == 0xabcd {
            assert_eq!(answer.answers.len(), 1);
            return Ok(());
        }
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    }
}
