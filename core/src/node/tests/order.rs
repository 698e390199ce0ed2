//! Claims come in any order, and again: what is believed rises only, and who tell each other what
//! they hold agree, whatever each of them heard first.

use proptest::prelude::*;

use super::*;
use crate::node::claims::Origin;

const SUBJECT: usize = 9;

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let by = NodeId::from_bytes([8; 16]);
    let evidence = Evidence::Silent;
    let statements = [
        Statement::Alive,
        Statement::Suspect { by, evidence, witnesses: 0 },
        Statement::Failed { by },
        Statement::Left { by, prune: false },
    ];
    let one = (1u64..4, 0u32..4, prop::sample::select(statements.to_vec()));
    let one = one.prop_map(|(generation, incarnation, statement)| {
        let config = config(SUBJECT);
        let id = config.durable.id;
        let record = Record::of_client(id, config.name, config.addr);
        let version = Version { generation, incarnation };
        Claim { record: Arc::new(Record { version, ..record }), statement }
    });
    prop::collection::vec(one, 1..8)
}

fn held(w: &World, at: usize) -> Option<(Version, State)> {
    let id = NodeId::from_bytes([SUBJECT as u8; 16]);
    w.hosts[at].node.table.get(id).map(|c| c.rank())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn in_any_order_the_same_is_believed(
        (first, second) in claims().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
    ) {
        let mut w = World::new(0);
        for i in 0..2 {
            let mut c = config(i);
            // What is looked into first is believed later: here, all claims come at once.
            Arc::make_mut(&mut c.tuning).doubt_failures = false;
            w.start(c);
        }
        for (at, all) in [first.clone(), second].into_iter().enumerate() {
            for claim in all {
                let before = held(&w, at);
                let now = w.now;
                let origin = Origin::Packet(addr(SUBJECT));
                w.hosts[at].node.learn_claim(now, claim, origin);
                let after = held(&w, at);
                if let (Some(before), Some(after)) = (before, after) {
                    prop_assert!(before.0 <= after.0, "{before:?} became {after:?}");
                    let back = before.1 > State::Suspect && after.1.is_live();
                    prop_assert!(!back || before.0 < after.0, "{before:?} became {after:?}");
                }
            }
        }
        w.join(1, 0).unwrap();
        let strongest = |x: (Version, State), y| match compare(x, y) {
            Order::Newer => y,
            Order::Same | Order::Older => x,
        };
        let best = first.iter().map(Claim::rank).reduce(strongest).unwrap();
        let (one, two) = (held(&w, 0).unwrap(), held(&w, 1).unwrap());
        prop_assert_eq!(one, two);
        prop_assert_eq!((one.0.generation, one.1), (best.0.generation, best.1));
    }
}
