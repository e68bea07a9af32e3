use std::sync::OnceLock;

use crate::call::Runtime;
use crate::space::Space;

/// A node with four NICs, and outside, where their other ends `port0` to `port3` are. The first is the node's own: it has its
/// address and its default route.
pub(crate) struct World {
    pub(crate) node: Space,
    pub(crate) outside: Space,
}

/// What a kernel may have been built without.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Vlan,
    Bond,
}

impl World {
    pub(crate) fn new() -> Self {
        let (node, outside) = (Space::new(), Space::new());
        let (mut in_node, mut in_outside) = (vec!["link set lo up".to_owned()], Vec::new());
        for n in 0..4 {
            in_outside.push(format!("link add port{n} type veth peer name eth{n} netns {}", node.pid()));
            in_outside.push(format!("link set port{n} up"));
            in_node.push(format!("link set eth{n} address 02:00:00:00:00:0{n}"));
            in_node.push(format!("link set eth{n} up"));
        }
        in_node.push("address add 10.9.0.2/24 dev eth0".to_owned());
        in_node.push("route add default via 10.9.0.1".to_owned());
        outside.batch(&in_outside);
        node.batch(&in_node);
        Self { node, outside }
    }

    /// Whether this kernel has such interfaces: asked once for each, in a namespace that is thrown away.
    fn has(kind: Kind) -> bool {
        static VLAN: OnceLock<bool> = OnceLock::new();
        static BOND: OnceLock<bool> = OnceLock::new();
        let (known, question) = match kind {
            Kind::Vlan => (&VLAN, "link add link probe name probe.5 type vlan id 5"),
            Kind::Bond => (&BOND, "link add bond9 type bond"),
        };
        *known.get_or_init(|| {
            let space = Space::new();
            space.ip("link add probe type veth peer name other");
            space.try_ip(question).is_ok()
        })
    }

    /// Whether this kernel has all that an ADD needs. If it has not, ADD must say so and change nothing.
    pub(crate) fn can(&self, runtime: &Runtime, kinds: &[Kind]) -> bool {
        let Some(lacking) = kinds.iter().find(|kind| !Self::has(**kind)) else { return true };
        let module = match lacking {
            Kind::Vlan => "8021q",
            Kind::Bond => "bonding",
        };
        self.refused(runtime, 110, &["this kernel has no", &format!("load the module {module}")]);
        false
    }

    /// That ADD fails with this code and words, and changes nothing.
    pub(crate) fn refused(&self, runtime: &Runtime, code: u64, words: &[&str]) {
        let before = (self.node.all(), runtime.records());
        let (told, message) = runtime.fails(&self.node, "ADD");
        assert_eq!(told, code, "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        assert_eq!((self.node.all(), runtime.records()), before, "{message}");
    }

    /// That an interface of the node is described by iproute2 with all of these words.
    pub(crate) fn shows(&self, device: &str, words: &[&str]) {
        let line = self.node.ip(&format!("-d -o link show {device}"));
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line}");
        }
    }
}
