//! The contract of every provider, checked on this one over the simulated cloud.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions may fail it")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use model::{InstanceId, Node, ProviderName};
use providers::conformance::{self, Fault, Harness, Limit, Machine, Owner, World};
use providers_aliyun::{Aliyun, Environment, Settings, Tag};
use testbed::aliyun::{self, Budget, NicSpec, Simulator, When};

const VPC: &str = "vpc-1";
const SECRET: &str = "EXAMPLESECRETexamplesecret0123";

struct SimulatedCloud;

struct SimulatedWorld {
    simulator: Simulator,
    provider: Aliyun,
}

impl Harness for SimulatedCloud {
    type World = SimulatedWorld;

    fn limits(&self) -> BTreeMap<Limit, &'static str> {
        [
            (Limit::NoIpv6OnlyNics, "every NIC of the cloud has an IPv4 address of its own"),
            (Limit::NoBareInstances, "every instance of the cloud has a primary NIC"),
        ]
        .into()
    }

    fn gateway(&self, block: IpNet) -> Option<IpAddr> {
        match block {
            IpNet::V4(net) => Some(IpAddr::V4((u32::from(net.broadcast()) - 2).into())),
            IpNet::V6(net) => Some(IpAddr::V6((u128::from(net.broadcast()) - 8).into())),
        }
    }

    fn crowd(&self) -> usize {
        // A page holds 500.
        1_001
    }

    async fn arrange(&self, name: &ProviderName, machines: &[Machine]) -> SimulatedWorld {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let simulator = Simulator::start().await.unwrap();
        simulator.edit(|cloud| {
            cloud.add_key("LTAI5tEXAMPLEKEYID", SECRET);
            cloud.throttle.set_all(Budget::Unlimited);
            cloud.add_vpc(VPC, "10.66.0.0/16".parse().unwrap(), Some("2001:db8::/48".parse().unwrap()));
            // Even an empty VPC of a cluster has a vSwitch.
            let zone = "cn-hangzhou-i";
            let nets = ("10.66.255.0/24".parse().unwrap(), "2001:db8:0:ffff::/64".parse().unwrap());
            cloud.add_vswitch("vsw-empty", VPC, zone, nets.0, Some(nets.1));
            for nic in machines.iter().flat_map(|machine| &machine.nics) {
                let v4 = nic.v4.expect("IPv6-only NICs are a declared limit");
                if cloud.world().vswitch(&vswitch(nic.v6.into())).is_none() {
                    cloud.add_vswitch(vswitch(nic.v6.into()), VPC, zone, v4, Some(nic.v6));
                }
            }
            for machine in machines {
                arrange(cloud, machine);
            }
        });
        let settings = settings(name, &simulator);
        let environment: Environment = [
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAI5tEXAMPLEKEYID"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET),
        ]
        .into_iter()
        .collect();
        let provider = Aliyun::with_environment(settings, &environment).unwrap();
        SimulatedWorld { simulator, provider }
    }
}

fn vswitch(block: IpNet) -> String {
    format!("vsw-{}", block.network().to_string().replace(':', "x"))
}

fn arrange(cloud: &mut aliyun::Cloud, machine: &Machine) {
    let instance = format!("i-{}", machine.name);
    let home = vswitch(machine.nics[0].v6.into());
    cloud.add_instance(&instance, &machine.name, "ecs.g7.xlarge", &home).unwrap();
    for (index, nic) in (0_u32..).zip(&machine.nics) {
        let id = format!("eni-{}-{index}", machine.name);
        let switch = vswitch(nic.v6.into());
        let mut spec = if index == 0 {
            NicSpec::primary(&id, &switch).device_index(Some(0))
        } else {
            NicSpec::secondary(&id, &switch).device_index(Some(index))
        };
        if let Some(IpAddr::V4(own)) = nic.primary {
            spec = spec.primary_ip(own);
        }
        if nic.owner == Owner::Somebody {
            let Tag { key, value } = Tag::default();
            spec = spec.tag(key, value);
        }
        spec = spec.ips(nic.addresses.iter().copied());
        for prefix in &nic.prefixes {
            spec = match prefix {
                IpNet::V4(net) => spec.ipv4_prefix(*net),
                IpNet::V6(net) => spec.ipv6_prefix(*net),
            };
        }
        cloud.attach(&instance, spec).unwrap();
    }
}

fn settings(name: &ProviderName, simulator: &Simulator) -> Settings {
    let endpoint = |text: &str| Some(text.parse().unwrap());
    let mut settings = Settings::new(name.clone());
    settings.region = Some("cn-hangzhou".to_owned());
    settings.vpc_id = Some(VPC.to_owned());
    settings.endpoints.ecs = endpoint(&simulator.endpoints().ecs);
    settings.endpoints.vpc = endpoint(&simulator.endpoints().vpc);
    settings.endpoints.sts = endpoint(&simulator.endpoints().sts);
    settings.endpoints.metadata = endpoint(&simulator.endpoints().metadata);
    settings.timeouts.call = Duration::from_secs(2);
    settings.timeouts.reading = Duration::from_secs(6);
    // A minute's rest after each throttle would make the suite wait for it.
    settings.limits.window = Duration::from_millis(100);
    settings
}

impl World for SimulatedWorld {
    type Provider = Aliyun;

    fn provider(&self) -> &Aliyun {
        &self.provider
    }

    fn node(&self, machine: &str) -> Node {
        Node {
            name: machine.to_owned(),
            uid: String::new(),
            provider_id: Some(format!("cn-hangzhou.i-{machine}")),
            addresses: Vec::new(),
        }
    }

    fn unknown_instance(&self) -> InstanceId {
        InstanceId::from("i-unknown")
    }

    async fn break_with(&self, fault: Option<Fault>) {
        self.simulator.edit(|cloud| {
            cloud.faults.clear();
            let mut every = |fault| cloud.faults.add("*", When::Always, fault);
            match fault {
                None => {}
                Some(Fault::Throttled) => every(aliyun::Fault::Throttled),
                Some(Fault::Denied) => every(aliyun::Fault::code("Forbidden.RAM")),
                Some(Fault::CutReply) => every(aliyun::Fault::CutJson),
                Some(Fault::Silence) => every(aliyun::Fault::Hang),
                // The first call of the listing and of the description that follows it pass, the second ones do not.
                Some(Fault::LaterPage) => {
                    for call in [2, 4] {
                        let denied = aliyun::Fault::code("Forbidden.RAM");
                        cloud.faults.add("DescribeNetworkInterfaces", When::Nth(call), denied);
                    }
                }
            }
        });
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned(), "LTAI5tEXAMPLEKEYID".to_owned()]
    }
}

#[tokio::test]
async fn the_provider_keeps_the_contract() {
    conformance::run(&SimulatedCloud).await;
}
