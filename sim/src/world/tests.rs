use super::*;

fn run_text(text: &str) -> Outcome {
    let scenario = Scenario::parse(text).unwrap();
    let options = Options { sink: Sink::Memory(Vec::new()), ..Options::default() };
    run(scenario, options).unwrap()
}

fn passes(text: &str) -> Outcome {
    let o = run_text(text);
    let lines: Vec<_> = o.trace.iter().rev().take(30).map(crate::trace::render).collect();
    assert!(o.failures.is_empty(), "{:?}\n{}", o.failures, lines.join("\n"));
    o
}

#[test]
fn two_nodes_meet() {
    let o = passes("cluster 2 seed 1\nat 0s join n2 via n1\nwithin 5s converged\n");
    assert!(o.measures.datagrams > 0);
}
