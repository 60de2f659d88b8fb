//! Output with `--json` is as `docs/memif-json.schema.json` describes it.

use jsonschema::Validator;
use serde_json::Value;

use crate::harness::{Ended, Tool, folder, run, wait_for};

const SCHEMA: &str = include_str!("../../../docs/memif-json.schema.json");

fn check(schema: &Validator, ended: &Ended) {
    check_lines(schema, ended);
    ended.summary();
}

fn check_lines(schema: &Validator, ended: &Ended) {
    for line in ended.lines.iter().chain(&ended.events) {
        let object: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<_> = schema.iter_errors(&object).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
}

#[test]
fn json_output_is_as_the_schema_says() {
    let schema = jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap();
    assert!(!schema.is_valid(&serde_json::json!({ "final": true, "packets": -1 })), "it accepts anything");
    let folder = folder();
    let pair = |master: &str, slave: &str| {
        let master = Tool::start(folder.path(), &format!("{master} --json"));
        wait_for(folder.path(), "m.sock");
        check(&schema, &run(folder.path(), &format!("{slave} --json")));
        master.signal("INT");
        check(&schema, &master.wait());
    };
    pair("sink m.sock,role=master,queues=2 --verify", "gen m.sock,queues=2 --seconds 1.5 --verify --rate 1M");
    pair("echo m.sock,role=master", "gen m.sock --rtt --seconds 1.5 --rate 10k");
    let responder = "respond m.sock,role=master --ip 10.0.0.2/24";
    pair(responder, "ping m.sock --ip 10.0.0.1/24 10.0.0.2 -c 3 --interval 0.01");
    pair(responder, "ping m.sock --ip 10.0.0.1/24 10.0.0.3 --seconds 0.1");
    let refused = run(folder.path(), "gen nobody.sock --wait 0.05 --json");
    assert!(refused.lines.is_empty() && !refused.events.is_empty(), "{refused:?}");
    check_lines(&schema, &refused);
    check(&schema, &run(folder.path(), "demo --seconds 1.2 --verify --json"));
}
