use super::*;
use proptest::prelude::*;

const SECRET: &str = "hush-hush";

#[test]
fn every_key_is_read() {
    let text = "/run/x.sock,role=master,id=7,mode=ip,secret=psst,queues=3,ring=256,line=128,layout=fixed,buffer=4096,\
                huge=off,rx=adaptive,silence=700,handshake=9000,netns=/run/netns/a";
    let port: Port = text.parse().unwrap();
    let expected = Port {
        socket: "/run/x.sock".into(),
        netns: Some("/run/netns/a".into()),
        role: Role::Master,
        id: 7,
        mode: Mode::Ip,
        secret: PortSecret::Text("psst".into()),
        rx_queues: 3,
        tx_queues: 3,
        ring: 256,
        line: LineSize::Bytes128,
        layout: PacketLayout::Fixed,
        buffer: 4096,
        huge: HugePages::Off,
        rx: RxMode::Adaptive,
        silence_ms: 700,
        handshake_ms: 9000,
    };
    assert_eq!(port, expected);
    let port: Port = "x,rx-queues=2".parse().unwrap();
    assert_eq!((port.rx_queues, port.tx_queues, port.buffers()), (2, 1, 3 * 1024));
    let port: Port = "x,tx-queues=4,rx-queues=3".parse().unwrap();
    assert_eq!((port.rx_queues, port.tx_queues), (3, 4));
    let port: Port = "x,secret-file=/etc/memif.secret".parse().unwrap();
    assert!(port.secret == PortSecret::File("/etc/memif.secret".into()) && port.has_secret());
}

#[test]
fn defaults_are_those_of_libmemif() {
    let port: Port = "".parse().unwrap();
    assert_eq!(port, Port::new("/run/vpp/memif.sock"));
    assert_eq!((port.role, port.id, port.rx_queues, port.ring, port.buffer), (Role::Slave, 0, 1, 1024, 2048));
    assert!(!port.has_secret());
}

#[test]
fn errors_name_the_socket_and_what_is_wrong() {
    for (text, hint) in [
        ("x,role=server", "master or slave"),
        ("x,id=1,speed=9", "part 2 behind the path has an unknown key: use role, id"),
        ("x,id=-1", "id must be a number from 0 to 4294967295"),
        ("x,id=4294967296", "id must be a number"),
        ("x,queues=65536", "queues must be a number from 0 to 65535"),
        ("x,queues", "key=value"),
        ("x,queues=2,rx-queues=3", "queues stands for"),
        ("x,tx-queues=2,queues=3", "queues stands for"),
        ("x,", "key=value"),
        ("x,id=1,id=2", "id is given twice"),
        ("x,line=96", "use 64 or 128"),
        ("x,layout=dense", "use packed or fixed"),
        ("x,huge=maybe", "off, prefer or require"),
        ("x,netns=", "netns is empty"),
        ("x,secret=", "secret is empty"),
        ("x,secret-file=", "secret-file is empty"),
        ("x,secret=a,secret-file=b", "exclude each other"),
    ] {
        let error = text.parse::<Port>().unwrap_err().to_string();
        assert!(error.starts_with("port \"x\": ") && error.contains(hint), "{text}: {error}");
    }
    let error = "role=master".parse::<Port>().unwrap_err().to_string();
    assert!(error.contains("begin with the path"), "{error}");
}

#[test]
fn a_mistake_anywhere_never_shows_the_secret() {
    for text in [
        "x,secert=hush-hush",
        "x,secret:hush-hush",
        "x,secrethush-hush",
        "x,hush-hush",
        "x,role=master;secret=hush-hush",
        "x,secret=a,hush-hush",
        "x,secret=hush-hush,secret=hush-hush",
        "x,secret=hush-hush,secret-file=hush-hush",
        "x;secret=hush-hush",
        "secret=hush-hush",
        "x,id=hush-hush",
        "x,hush-hush=secret",
    ] {
        let error = text.parse::<Port>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{text}: {error:?}");
    }
    let port: Port = "x,secret=hush-hush".parse().unwrap();
    assert!(!format!("{port} {port:?} {port:#?}").contains(SECRET), "{port:?}");
}

/// Text with what is escaped and what is not.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![r"[,=\\a]{1,24}", ".{1,24}"]
}

fn port() -> impl Strategy<Value = Port> {
    let role = prop::sample::select(vec![Role::Master, Role::Slave]);
    let mode = prop::sample::select(&Mode::ALL[..]);
    let line = prop::sample::select(&LineSize::ALL[..]);
    let layout = prop::sample::select(&PacketLayout::ALL[..]);
    let huge = prop::sample::select(&HugePages::ALL[..]);
    let rx = prop::sample::select(vec![RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive]);
    let secret = prop::option::of((any::<bool>(), any_text()));
    let numbers = (any::<u32>(), any::<(u16, u16)>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let netns = prop::option::of(any_text());
    (any_text(), netns, role, mode, secret, (line, layout, huge), rx, numbers).prop_map(
        |(socket, netns, role, mode, secret, (line, layout, huge), rx, numbers)| {
            let (id, (rx_queues, tx_queues), ring, buffer, silence_ms, handshake_ms) = numbers;
            Port {
                socket,
                netns,
                role,
                id,
                mode,
                secret: match secret {
                    None => PortSecret::None,
                    Some((true, secret)) => PortSecret::Text(secret),
                    Some((false, path)) => PortSecret::File(path.into()),
                },
                rx_queues,
                tx_queues,
                ring,
                line,
                layout,
                buffer,
                huge,
                rx,
                silence_ms,
                handshake_ms,
            }
        },
    )
}

#[test]
fn commas_and_equals_signs_are_escaped() {
    let port: Port = r"/run/a\,b\=c\\d\e,secret-file=/etc/x\,y=z,id=3".parse().unwrap();
    assert_eq!((port.socket(), port.id), (r"/run/a,b=c\d\e", 3));
    assert!(port.secret == PortSecret::File("/etc/x,y=z".into()));
    let port: Port = r"a\\,id=3".parse().unwrap();
    assert_eq!((port.socket(), port.id), (r"a\", 3));
    assert_eq!(r"a\".parse::<Port>().unwrap().socket(), r"a\");
    assert!(r"a\,id=3".parse::<Port>().is_err(), "the comma belongs to the path, and has an equals sign");
}

proptest! {
    #[test]
    fn what_is_written_is_read(port in port()) {
        let read: Port = port.to_string().parse().unwrap();
        let secret = match &port.secret {
            PortSecret::Text(_) => PortSecret::None,
            other => other.clone(),
        };
        prop_assert_eq!(read, Port { secret, ..port });
    }

    #[test]
    fn any_text_is_taken_or_refused(text in r"[a-z@/,=0-9\\]{0,60}") {
        match text.parse::<Port>() {
            Ok(port) => prop_assert!(!port.socket().is_empty()),
            Err(error) => prop_assert!(error.to_string().starts_with("port ")),
        }
    }
}
