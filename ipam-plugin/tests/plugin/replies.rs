use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::{ScriptedAgent, both_families, http};
use crate::call::{Call, Told};

fn add(answer: impl Into<Vec<u8>>) -> Told {
    let call = Call::new();
    let _agent = ScriptedAgent::saying(call.path(), answer);
    call.run("ADD")
}

#[test]
fn every_form_of_a_good_reply_is_understood() {
    let body = both_families().to_string();
    let (first, second) = body.split_at(100);
    let chunks = format!(
        "{:x}\r\n{first}\r\n{:X};name=value\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        second.len()
    );
    for answer in [
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding:Chunked\r\nContent-Length: 3\r\n\r\n{chunks}"),
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}"),
        format!("HTTP/1.0 200\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\nContent-Length: {}\n\n{body}and more that nobody reads", body.len()),
        format!("HTTP/1.1 100 Continue\r\n\r\n{}", http(200, &body)),
        http(201, &body),
    ] {
        let told = add(answer.as_str());
        assert!(told.succeeded, "{answer}: {told:?}");
        assert_eq!(told.stdout["ips"][1]["address"], "fd00:9::5/64");
    }
}

#[test]
fn a_reply_that_trickles_in_is_waited_for() {
    let call = Call::new();
    let answer = http(200, &both_families().to_string());
    let _agent = ScriptedAgent::new(call.path(), move |_, mut stream| {
        for piece in answer.as_bytes().chunks(40) {
            stream.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(call.run("ADD").succeeded);
}

#[test]
fn an_agent_that_keeps_the_connection_open_is_not_waited_for() {
    let call = Call::new();
    let answer = http(200, &both_families().to_string());
    let mut kept = Vec::new();
    let _agent = ScriptedAgent::new(call.path(), move |_, mut stream| {
        stream.write_all(answer.as_bytes()).unwrap();
        kept.push(stream);
    });
    let begin = Instant::now();
    assert!(call.run("ADD").succeeded);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_refusal_is_passed_on_in_the_agents_words() {
    for (answer, words) in [
        (
            http(500, "\"no pool has a free address: add addresses to pool a\""),
            "refused: no pool has a free address: add addresses to pool a",
        ),
        (http(500, "plain words\n"), "refused: plain words"),
        (http(500, ""), "without a reason"),
        (
            http(400, "{\"code\":602,\"message\":\"podName in body is required\"}"),
            "podName in body is required",
        ),
    ] {
        let told = add(answer);
        assert_eq!(told.code(), 101, "{told:?}");
        assert!(told.message().contains(words), "{told:?}");
        assert!(told.stdout["details"].as_str().unwrap().starts_with("HTTP status "));
    }
    assert_eq!(add(http(503, "\"caches are being filled\"")).code(), 11);
}

#[test]
fn what_is_no_answer_is_an_error_and_nothing_worse() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n{}", "x: y\r\n".repeat(400_000));
    let body = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(3 << 20));
    let deep = http(200, &"[".repeat(100_000));
    for answer in [
        b"".as_slice(),
        b"\0\xff\xfe",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 999999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ips\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        http(200, "null").as_bytes(),
        http(200, "{\"ips\":{}}").as_bytes(),
        http(200, "{\"ips\":[{\"version\":400}]}").as_bytes(),
        deep.as_bytes(),
        long.as_bytes(),
        body.as_bytes(),
    ] {
        let told = add(answer);
        assert_eq!(told.code(), 100, "{told:?}");
        assert!(told.message().len() > 40 && told.message().len() < 400, "{told:?}");
    }
}

#[test]
fn addresses_that_cannot_be_used_are_named() {
    for (body, words) in [
        ("{\"ips\":[]}", "no address for the interface pod"),
        (
            "{\"ips\":[{\"version\":4,\"address\":\"10.0.0.1/24\",\"nic\":\"net1\"}]}",
            "no address for the interface pod",
        ),
        ("{\"ips\":[{\"version\":4,\"address\":\"10.0.0.1/33\",\"nic\":\"pod\"}]}", "10.0.0.1/33"),
        (
            "{\"ips\":[{\"version\":4,\"address\":\"10.0.0.1/24\",\"nic\":\"pod\",\"gateway\":\"x\"}]}",
            "the gateway \"x\"",
        ),
        (
            "{\"ips\":[{\"version\":4,\"address\":\"10.0.0.1/24\",\"nic\":\"pod\"}],\"routes\":[{\"ifName\":\"pod\",\"dst\":\"all\",\"gw\":\"\"}]}",
            "the route to \"all\"",
        ),
    ] {
        let told = add(http(200, body));
        assert_eq!(told.code(), 102, "{told:?}");
        assert!(told.message().contains(words), "{told:?}");
    }
}

#[test]
fn an_agent_that_is_not_there_is_told_from_one_that_hangs() {
    let call = Call::new();
    let told = call.run("ADD");
    assert!(told.code() == 100 && told.message().contains("does not exist"), "{told:?}");

    let call = Call::new();
    drop(UnixListener::bind(call.path().join("agent.sock")).unwrap());
    let told = call.run("ADD");
    assert!(told.code() == 100 && told.message().contains("nobody listens"), "{told:?}");

    let call = Call::new();
    let _agent = ScriptedAgent::new(call.path(), |_, stream| drop(stream));
    let told = call.run("ADD");
    assert!(told.code() == 100 && told.message().contains("closed the connection"), "{told:?}");

    // Takes connections, says nothing. STATUS waits 5 s, which a test can.
    let call = Call::new();
    let _listener = UnixListener::bind(call.path().join("agent.sock")).unwrap();
    let begin = Instant::now();
    let told = call.run("STATUS");
    assert!(told.code() == 50 && told.message().contains("did not answer within 5 s"), "{told:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn an_agent_that_is_stopped_does_not_hold_the_plugin_up() {
    let call = Call::new();
    let socket = call.path().join("agent.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    // Nobody accepts: these fill the backlog, and the last of them waits as the plugin would.
    let mut waiting = Vec::new();
    let (tell, connected) = std::sync::mpsc::channel();
    thread::spawn(move || {
        while let Ok(stream) = UnixStream::connect(&socket) {
            waiting.push(stream);
            tell.send(()).unwrap();
        }
    });
    while connected.recv_timeout(Duration::from_millis(500)).is_ok() {}
    let begin = Instant::now();
    let told = call.run("STATUS");
    assert!(told.code() == 50 && told.message().contains("did not take the connection"), "{told:?}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}
