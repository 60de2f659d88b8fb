//! Generator and sink.

use serde_json::Value;

use crate::harness::{Tool, assert_empty, folder, number, run, wait_for};

fn all_arrive(sink_port: &str, gen_port: &str, sink_first: bool, size: usize) {
    let folder = folder();
    let count = 5000;
    let sink = format!("sink {sink_port} --count {count} --verify --json");
    let generate = format!("gen {gen_port} --count {count} --size {size} --verify --json");
    let (master, slave) = if sink_first { (sink, generate) } else { (generate, sink) };
    let master = Tool::start(folder.path(), &master);
    wait_for(folder.path(), "m.sock");
    let slave = run(folder.path(), &slave);
    let master = master.wait();
    let (sink, generator) = if sink_first { (&master, &slave) } else { (&slave, &master) };
    let (sink, generator) = (sink.success(), generator.success());
    for record in [&sink, &generator] {
        assert_eq!(number(record, "/packets"), count);
        assert_eq!(number(record, "/bytes"), count * size as u64);
        assert_eq!(record["drops"], serde_json::json!({}));
        assert!(record["seconds"].is_f64() && record["mpps"].is_f64() && record["gbps"].is_f64());
    }
    assert_eq!(number(&sink, "/verified"), count);
    for failure in ["/corrupt", "/lost", "/reordered"] {
        assert_eq!(number(&sink, failure), 0);
    }
    assert!(number(&sink, "/latency_ns/max") >= number(&sink, "/latency_ns/p50"));
    assert_empty(folder.path());
}

#[test]
fn all_packets_arrive_from_slave_to_master() {
    for size in [64, 1514, 9000, 65535] {
        all_arrive("m.sock,role=master,id=7", "m.sock,id=7", true, size);
    }
}

#[test]
fn all_packets_arrive_from_master_to_slave() {
    for size in [64, 1514, 9000, 65535] {
        all_arrive("m.sock", "m.sock,role=master", false, size);
    }
}

/// Mixed sizes over a ring that is always full: the sink knows each packet by its content. Returns the generator's bytes.
fn mixed_sizes_arrive(sink_port: &str, gen_port: &str, sizes: &str) -> u64 {
    let folder = folder();
    let sink = format!("sink {sink_port} --count 6000 --verify --json");
    let generate = format!("gen {gen_port} --count 6000 {sizes} --verify --json");
    let (master, slave) = if sink.contains("master") { (&sink, &generate) } else { (&generate, &sink) };
    let ends = [master, slave].map(|line| {
        let tool = Tool::start(folder.path(), line);
        wait_for(folder.path(), "m.sock");
        tool
    });
    let ends = ends.map(|tool| tool.wait().success());
    let [master, slave] = ends;
    let (sink, generator) = if sink.contains("master") { (master, slave) } else { (slave, master) };
    for count in ["/corrupt", "/wrong_length", "/lost", "/reordered"] {
        assert_eq!(number(&sink, count), 0, "{count}: {sink}");
    }
    assert_eq!((number(&sink, "/verified"), number(&generator, "/packets")), (6000, 6000));
    assert_eq!(number(&sink, "/bytes"), number(&generator, "/bytes"));
    number(&generator, "/bytes")
}

#[test]
fn mixed_sizes_arrive_in_both_directions_and_modes() {
    for mode in ["ethernet", "ip"] {
        let ports =
            [format!("m.sock,role=master,ring=64,mode={mode}"), format!("m.sock,ring=64,mode={mode}")];
        for (sink, generator) in [(&ports[0], &ports[1]), (&ports[1], &ports[0])] {
            let each = if mode == "ip" { 14 } else { 0 };
            let mix = 500 * (7 * 64 + 4 * 570 + 1514) - 6000 * each;
            assert_eq!(mixed_sizes_arrive(sink, generator, "--imix"), mix);
            let bytes = mixed_sizes_arrive(sink, generator, "--size 64-9000");
            assert!((4400..4700).contains(&(bytes / 6000)), "{bytes}");
        }
    }
}

#[test]
fn all_queues_are_used_in_every_rx_mode() {
    all_arrive("m.sock,role=master,queues=3,rx=interrupt", "m.sock,queues=3,ring=64", true, 200);
    all_arrive("m.sock,queues=3,rx=adaptive,ring=64", "m.sock,role=master,queues=3", false, 200);
}

#[test]
fn all_packets_arrive_when_one_side_has_fewer_queues() {
    all_arrive("m.sock,role=master", "m.sock,queues=3", true, 200);
    all_arrive("m.sock", "m.sock,role=master,queues=3", false, 200);
    all_arrive("m.sock,role=master,queues=3", "m.sock", true, 200);
}

#[test]
fn both_ends_say_which_cache_lines_the_rings_are_laid_out_for() {
    for line in [64, 128] {
        let folder = folder();
        let sink = Tool::start(folder.path(), "sink m.sock,role=master --count 100 --verify --json");
        wait_for(folder.path(), "m.sock");
        let generator =
            run(folder.path(), &format!("gen m.sock,line={line} --count 100 --verify --json")).success();
        for summary in [generator, sink.wait().success()] {
            assert_eq!(summary["machine"]["rings"], format!("lines of {line} bytes"));
        }
    }
}

#[test]
fn all_packets_arrive_in_ip_mode() {
    for size in [64, 1500, 65535] {
        all_arrive("m.sock,role=master,mode=ip", "m.sock,mode=ip", true, size);
        all_arrive("m.sock,mode=ip", "m.sock,role=master,mode=ip", false, size);
    }
}

#[test]
fn a_sink_that_received_nothing_fails_to_verify() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --verify --json");
    wait_for(folder.path(), "m.sock");
    sink.signal("INT");
    let sink = sink.wait();
    assert_eq!(sink.code, Some(1), "{sink:?}");
    assert_eq!(number(&sink.summary(), "/packets"), 0);
    assert!(sink.stderr.contains("verification failed: no packet arrived"), "{sink:?}");
}

#[test]
fn packets_sent_without_verify_do_not_verify() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --count 10 --verify --json");
    wait_for(folder.path(), "m.sock");
    run(folder.path(), "gen m.sock --count 10 --json").success();
    let sink = sink.wait();
    assert_eq!(sink.code, Some(1), "{sink:?}");
    assert_eq!((number(&sink.summary(), "/unfilled"), number(&sink.summary(), "/corrupt")), (10, 0));
    assert!(sink.stderr.lines().last().unwrap().contains("without --verify"), "{sink:?}");
}

#[test]
fn a_restarted_generator_does_not_count_as_loss() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --verify --json");
    wait_for(folder.path(), "m.sock");
    let killed = Tool::start(folder.path(), "gen m.sock --verify --rate 100k --json");
    killed.next_line();
    killed.signal("KILL");
    killed.wait();
    let second = run(folder.path(), "gen m.sock --verify --count 1k --json").success();
    assert_eq!(number(&second, "/packets"), 1000);
    sink.signal("INT");
    let sink = sink.wait();
    let summary = sink.success();
    assert!(number(&summary, "/verified") > 1000, "{sink:?}");
    assert_eq!((number(&summary, "/lost"), number(&summary, "/corrupt")), (0, 0));
    assert!(sink.stderr.contains("link down"), "{sink:?}");
    assert_empty(folder.path());
}

#[test]
fn ctrl_c_ends_a_command_that_waits_and_one_that_runs() {
    let folder = folder();
    let waiting = Tool::start(folder.path(), "sink w.sock,role=master --json");
    wait_for(folder.path(), "w.sock");
    waiting.signal("INT");
    assert_eq!(number(&waiting.wait().success(), "/packets"), 0);

    let sink = Tool::start(folder.path(), "sink m.sock,role=master --json");
    wait_for(folder.path(), "m.sock");
    let generator = Tool::start(folder.path(), "gen m.sock");
    let first: Value = serde_json::from_str(&sink.next_line()).unwrap();
    assert_eq!(first["final"], false);
    sink.signal("INT");
    let summary = sink.wait().success();
    assert!(number(&summary, "/packets") > 0 && summary["mpps"].as_f64().unwrap() > 0.0);
    generator.signal("INT");
    let generator = generator.wait();
    assert_eq!(generator.code, Some(0), "{generator:?}");
    assert!(generator.lines.iter().any(|line| line.starts_with("rate")), "{generator:?}");
    assert_empty(folder.path());
}

#[test]
fn seconds_end_a_run() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --seconds 2 --json");
    wait_for(folder.path(), "m.sock");
    let generator = run(folder.path(), "gen m.sock --seconds 0.1 --rate 10k --json");
    assert!(number(&generator.success(), "/packets") > 0);
    sink.wait().success();
    assert_empty(folder.path());
}

#[test]
fn json_output_has_the_events_of_links() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --json");
    wait_for(folder.path(), "m.sock");
    let generator = run(folder.path(), "gen m.sock,id=0 --count 100 --json");
    assert_eq!(generator.events.len(), 1, "{generator:?}");
    let refused = run(folder.path(), "gen m.sock,id=1 --wait 2 --json");
    assert!(refused.code == Some(1) && refused.events[0].contains("\"event\":\"no-link\""), "{refused:?}");
    sink.signal("INT");
    let sink = sink.wait();
    let event = |at: usize| -> Value { serde_json::from_str(&sink.events[at]).unwrap() };
    assert_eq!((&event(0)["event"], &event(0)["port"]), (&"link-up".into(), &"m.sock".into()));
    assert_eq!(event(1)["event"], "link-down");
    assert!(
        event(0)["time"].as_f64() <= event(1)["time"].as_f64() && event(1)["reason"].is_string(),
        "{sink:?}"
    );
    sink.success();
}

#[test]
fn json_output_has_the_counters_of_each_queue() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master,queues=2 --count 4000 --json");
    wait_for(folder.path(), "m.sock");
    let generator = run(folder.path(), "gen m.sock,queues=2 --count 4000 --json").success();
    let sink = sink.wait().success();
    for (record, direction) in [(sink, "rx"), (generator, "tx")] {
        let queues = record["queues"].as_array().unwrap();
        let ours: Vec<_> = queues.iter().filter(|queue| queue["direction"] == direction).collect();
        assert_eq!(ours.iter().map(|queue| number(queue, "/packets")).sum::<u64>(), 4000, "{record}");
        assert_eq!((queues.len(), ours.len(), &ours[1]["queue"]), (4, 2, &1.into()), "{record}");
    }
}

#[test]
fn round_trips_to_an_echo_are_measured_and_nothing_is_lost() {
    let folder = folder();
    for keys in ["", ",queues=2", ",mode=ip"] {
        let echo = Tool::start(folder.path(), &format!("echo m.sock,role=master{keys} --json"));
        wait_for(folder.path(), "m.sock");
        let line = format!("gen m.sock{keys} --rtt --count 5000 --rate 200k --verify --json");
        let summary = run(folder.path(), &line).success();
        for count in ["/sent", "/packets", "/verified"] {
            assert_eq!(number(&summary, count), 5000, "{count}: {summary}");
        }
        assert_eq!((number(&summary, "/lost"), number(&summary, "/other")), (0, 0), "{summary}");
        assert!(summary["latency"] == "round-trip" && number(&summary, "/latency_ns/p50") > 0, "{summary}");
        echo.signal("INT");
        echo.wait().success();
    }
    assert_empty(folder.path());
}

#[test]
fn round_trips_without_an_echo_fail_and_what_comes_back_unasked_is_counted() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master");
    wait_for(folder.path(), "m.sock");
    let ended = run(folder.path(), "gen m.sock --rtt --count 10 --json");
    assert_eq!((ended.code, number(&ended.summary(), "/lost")), (Some(1), 10), "{ended:?}");
    assert!(ended.stderr.lines().last().unwrap().contains("no packet came back"), "{ended:?}");
    sink.signal("INT");
    sink.wait();
    let _echo = Tool::start(folder.path(), "echo e.sock,role=master");
    wait_for(folder.path(), "e.sock");
    // more than the rings hold: some must have come back
    let ended = run(folder.path(), "gen e.sock,ring=16 --count 5000 --json").success();
    assert!(number(&ended, "/other") > 0, "{ended}");
}

#[test]
fn tagged_packets_of_many_flows_verify() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master,queues=2 --count 6000 --verify --json");
    wait_for(folder.path(), "m.sock");
    let options = "--vlan 7 --flows 20000 --src 10.0.0.1 --dst 10.1.0.1 --size 68-1500 --verify";
    run(folder.path(), &format!("gen m.sock,queues=2 --count 6000 {options}"));
    let sink = sink.wait().success();
    assert_eq!((number(&sink, "/verified"), number(&sink, "/corrupt")), (6000, 0), "{sink}");
    assert_eq!((number(&sink, "/lost"), number(&sink, "/reordered")), (0, 0), "{sink}");
}

#[test]
fn ipv6_packets_of_many_flows_verify_in_both_modes() {
    for (mode, options) in [
        ("ethernet", "--src 2001:db8::1 --size 84-1514"),
        ("ethernet", "--dst 2001:db8::2 --vlan 7"),
        ("ip", "--src 2001:db8::1 --dst 2001:db8::2 --imix"),
    ] {
        let folder = folder();
        let line = format!("sink m.sock,role=master,queues=2,mode={mode} --count 6000 --verify --json");
        let sink = Tool::start(folder.path(), &line);
        wait_for(folder.path(), "m.sock");
        let generate =
            format!("gen m.sock,queues=2,mode={mode} --count 6000 --flows 20000 --verify {options}");
        run(folder.path(), &generate);
        let sink = sink.wait().success();
        assert_eq!((number(&sink, "/verified"), number(&sink, "/corrupt")), (6000, 0), "{options}: {sink}");
        assert_eq!((number(&sink, "/lost"), number(&sink, "/reordered")), (0, 0), "{options}: {sink}");
    }
}
