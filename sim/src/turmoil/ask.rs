//! The questions at the end: every live agent is asked over the simulated network, from a host
//! of its own that no fault concerns, and must say by DNS and HTTP what its view says.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::turmoil::net::{TcpStream, UdpSocket};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use net_tokio::{
    handle::AgentHandle,
    view::{Status, View},
};
use serde::Deserialize;
use tokio::{task::JoinSet, time::timeout};

use super::{
    agent::{DNS_PORT, HTTP_PORT},
    control::Runner,
};

/// Where the questions come from.
const ASKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 1));
/// A question without an answer by then is asked again.
const PATIENCE: Duration = Duration::from_secs(1);
/// A view may change while it is asked about: so often it is asked anew.
const ATTEMPTS: u32 = 5;
/// All answers must be there after so many ticks (60 s).
const TICKS_MAX: u32 = 6000;
/// Bytes of the largest DNS answer.
const ANSWER_BYTES: usize = 4096;
/// A name that no node of a scenario has.
const NOBODY: &str = "nobody";

/// What came of the questions.
#[derive(Debug, Default)]
struct Report {
    answers: u64,
    wrong: Vec<(u32, String)>,
    done: bool,
}

/// Asks every live agent and compares.
pub(super) fn all(runner: &mut Runner<'_>) {
    let live = runner.hosts.iter().filter(|h| h.takes_part());
    let agents: Vec<(u32, IpAddr, AgentHandle)> =
        live.filter_map(|h| Some((h.number, h.ip, h.slot.told().handle.clone()?))).collect();
    let report = Arc::new(Mutex::new(Report::default()));
    let shared = Arc::clone(&report);
    runner.sim.client(ASKER, async move {
        let mut asking = JoinSet::new();
        for (n, ip, agent) in agents {
            asking.spawn(async move { (n, ask(ip, &agent).await) });
        }
        while let Some(answer) = asking.join_next().await {
            let (n, answer) = answer?;
            let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(count) => report.answers += count,
                Err(what) => report.wrong.push((n, what)),
            }
        }
        shared.lock().unwrap_or_else(PoisonError::into_inner).done = true;
        Ok(())
    });
    let done = || report.lock().unwrap_or_else(PoisonError::into_inner).done;
    let mut ticks = 0;
    while !done() && ticks < TICKS_MAX && runner.ticks() {
        ticks += 1;
    }
    let report = std::mem::take(&mut *report.lock().unwrap_or_else(PoisonError::into_inner));
    runner.outcome.answers = report.answers;
    for (n, what) in report.wrong {
        runner.outcome.fail("answers-differ", n, runner.now, format!("n{n}: {what}"));
    }
    if !report.done && runner.outcome.failures.is_empty() {
        runner.outcome.fail("answers-missing", 0, runner.now, "not every agent has answered");
    }
}

/// Asks one agent; how many answers were as its view.
async fn ask(ip: IpAddr, agent: &AgentHandle) -> Result<u64, String> {
    let mut attempt = 1;
    loop {
        let view = agent.view();
        let result = compare(ip, &view).await;
        let changed = !Arc::ptr_eq(&view, &agent.view());
        if result.is_ok() || !changed || attempt >= ATTEMPTS {
            return result;
        }
        attempt += 1;
    }
}

async fn compare(ip: IpAddr, view: &View) -> Result<u64, String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(|e| e.to_string())?;
    let mut names: Vec<&str> = view.members().iter().map(|m| m.record.name.as_str()).collect();
    names.push(NOBODY);
    names.dedup();
    for (id, name) in (1..).zip(&names) {
        let member = view.by_name(name).filter(|m| m.status != Status::Left);
        let want = member.map(|m| m.record.addr.ip());
        let got = resolve(&socket, SocketAddr::new(ip, DNS_PORT), id, name)
            .await
            .map_err(|e| format!("DNS about {name}: {e}"))?;
        if got != want {
            return Err(format!("DNS says {got:?} of {name}, the view {want:?}"));
        }
    }
    let (got, want) = (members(ip).await?, listed(view));
    if got != want {
        return Err(format!("HTTP lists {got:?}, the view {want:?}"));
    }
    Ok(names.len() as u64 + 1)
}

/// The address of a name; `None`: there is no such name.
async fn resolve(
    socket: &UdpSocket,
    server: SocketAddr,
    id: u16,
    name: &str,
) -> io::Result<Option<IpAddr>> {
    let owner = Name::from_ascii(format!("{name}.node.consul.")).map_err(io::Error::other)?;
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(owner, RecordType::A));
    let packet = query.to_vec().map_err(io::Error::other)?;
    let mut buf = vec![0; ANSWER_BYTES];
    for _ in 0..3 {
        socket.send_to(&packet, server).await?;
        let Ok(received) = timeout(PATIENCE, socket.recv_from(&mut buf)).await else { continue };
        let bytes = buf.get(..received?.0).unwrap_or(&[]);
        let reply = Message::from_vec(bytes).map_err(io::Error::other)?;
        if reply.metadata.id != id {
            continue;
        }
        return match (reply.metadata.response_code, reply.answers.first().map(|r| &r.data)) {
            (ResponseCode::NoError, Some(RData::A(a))) => Ok(Some(IpAddr::V4(a.0))),
            (ResponseCode::NXDomain, None) => Ok(None),
            (code, data) => Err(io::Error::other(format!("{code} with {data:?}"))),
        };
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The part of a member that is compared.
#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    name: String,
    addr: String,
    port: u16,
    status: u8,
}

/// What HTTP should list.
fn listed(view: &View) -> Vec<Listed> {
    let member = |m: &net_tokio::view::Member| Listed {
        name: m.record.name.as_str().to_owned(),
        addr: m.record.addr.ip().to_string(),
        port: m.record.addr.port(),
        status: m.status as u8,
    };
    let mut all: Vec<Listed> = view.members().iter().map(member).collect();
    all.sort();
    all
}

/// What HTTP lists.
async fn members(ip: IpAddr) -> Result<Vec<Listed>, String> {
    let exchange = timeout(PATIENCE * 10, get(SocketAddr::new(ip, HTTP_PORT), "/v1/agent/members"));
    let body = match exchange.await {
        Err(_) => Err("no answer in time".to_owned()),
        Ok(result) => result,
    };
    let body = body.map_err(|e| format!("HTTP: {e}"))?;
    let mut all: Vec<Listed> = serde_json::from_slice(&body).map_err(|e| format!("HTTP: {e}"))?;
    all.sort();
    Ok(all)
}

async fn get(server: SocketAddr, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect(server).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // It ends with the exchange; its errors show there.
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, server.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    connection.abort();
    if status.is_success() { Ok(body) } else { Err(format!("status {status}")) }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Plan};
    use super::*;

    #[test]
    fn an_agent_that_says_other_than_its_view_is_found_out() {
        let plan = Plan::parse("cluster 2 seed 1\nat 0s join n2 via n1\n").unwrap();
        let options = Options::default();
        let asked = |lie: bool| {
            let mut runner = Runner::new(&plan, &options);
            runner.set_up();
            for _ in 0..10 {
                assert!(runner.ticks());
                runner.looks();
            }
            if lie {
                let slot = Arc::clone(&runner.hosts[1].slot);
                let handle = slot.told().handle.clone().unwrap();
                let view = handle.view();
                let mut members = view.members().to_vec();
                members[0].status = Status::Failed;
                let other = View::new(1, view.local_id, view.label.clone(), members);
                slot.told().handle = Some(AgentHandle::new((*handle.info).clone(), other).0);
            }
            all(&mut runner);
            runner.outcome
        };
        let honest = asked(false);
        assert_eq!((honest.failures, honest.answers), (vec![], 6));
        let lying = asked(true);
        assert_eq!(
            (lying.failures[0].check.as_str(), lying.failures[0].node),
            ("answers-differ", 1)
        );
        assert!(lying.failures[0].message.contains("HTTP lists"), "{}", lying.failures[0].message);
    }
}
