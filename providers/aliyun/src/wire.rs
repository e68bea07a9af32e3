//! The replies as the cloud writes them: every field may be absent, null or empty, and unknown ones are ignored.

use serde::{Deserialize, Deserializer};

use crate::secret::Secret;

/// Reads `null` as the default.
pub(crate) fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Declares the object that the cloud wraps around a list.
macro_rules! wrapper {
    ($name:ident, $key:literal, $item:ty) => {
        #[derive(Debug, Default, Deserialize)]
        pub(crate) struct $name {
            #[serde(rename = $key, default, deserialize_with = "nullable")]
            pub(crate) items: Vec<$item>,
        }
    };
}

/// Declares an object whose every field has a default.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub(crate) struct $name {
            $(#[serde(deserialize_with = "nullable")] pub(crate) $field: $type,)*
        }
    };
}

wrapper!(NicSets, "NetworkInterfaceSet", NicShape);
wrapper!(InstanceSets, "Instance", InstanceShape);
wrapper!(VSwitchSets, "VSwitch", VSwitchShape);
wrapper!(BriefNicSets, "NetworkInterface", BriefNicShape);
wrapper!(PrivateIpSets, "PrivateIpSet", PrivateIpShape);
wrapper!(Ipv6Sets, "Ipv6Set", Ipv6Shape);
wrapper!(Ipv4PrefixSets, "Ipv4PrefixSet", Ipv4PrefixShape);
wrapper!(Ipv6PrefixSets, "Ipv6PrefixSet", Ipv6PrefixShape);
wrapper!(Tags, "Tag", TagShape);

shape! {
    /// One page of `DescribeNetworkInterfaces`.
    NicPage { next_token: String, network_interface_sets: NicSets, }
}
shape! {
    NicShape {
        network_interface_id: String,
        r#type: String,
        status: String,
        mac_address: String,
        instance_id: String,
        vpc_id: String,
        v_switch_id: String,
        private_ip_address: String,
        private_ip_sets: PrivateIpSets,
        ipv6_sets: Ipv6Sets,
        ipv4_prefix_sets: Ipv4PrefixSets,
        ipv6_prefix_sets: Ipv6PrefixSets,
        attachment: AttachmentShape,
        tags: Tags,
        service_managed: bool,
        network_interface_traffic_mode: String,
    }
}
shape! { PrivateIpShape { private_ip_address: String, primary: bool, } }
shape! { Ipv6Shape { ipv6_address: String, } }
shape! { Ipv4PrefixShape { ipv4_prefix: String, } }
shape! { Ipv6PrefixShape { ipv6_prefix: String, } }
shape! { AttachmentShape { instance_id: String, device_index: Option<i64>, trunk_network_interface_id: String, } }
shape! {
    /// A tag in an ECS reply; VPC replies name the keys differently.
    TagShape { tag_key: String, tag_value: String, }
}
shape! {
    /// One page of `DescribeInstances`.
    InstancePage { next_token: String, instances: InstanceSets, }
}
shape! { InstanceShape { instance_id: String, vpc_attributes: VpcShape, network_interfaces: BriefNicSets, } }
shape! { VpcShape { vpc_id: String, } }
shape! {
    /// A NIC inside `DescribeInstances`: less than what `DescribeNetworkInterfaces` shows.
    BriefNicShape { network_interface_id: String, r#type: String, mac_address: String, }
}
shape! {
    /// One page of `DescribeVSwitches`.
    VSwitchPage { total_count: u64, v_switches: VSwitchSets, }
}
shape! {
    VSwitchShape {
        v_switch_id: String,
        zone_id: String,
        cidr_block: String,
        ipv6_cidr_block: String,
    }
}
shape! {
    /// The reply of `AssumeRoleWithOIDC`.
    AssumedRole { credentials: Option<TemporaryKey>, }
}

/// Temporary credentials, as the token service and the metadata service write them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TemporaryKey {
    pub(crate) access_key_id: String,
    pub(crate) access_key_secret: Secret,
    pub(crate) security_token: Secret,
    pub(crate) expiration: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_replies_are_read() {
        let nics: NicPage =
            serde_json::from_str(include_str!("../tests/data/DescribeNetworkInterfaces.json")).unwrap();
        assert_eq!(nics.network_interface_sets.items.len(), 3);
        assert!(!nics.next_token.is_empty());
        let instances: InstancePage =
            serde_json::from_str(include_str!("../tests/data/DescribeInstances.json")).unwrap();
        assert_eq!(instances.instances.items[0].network_interfaces.items.len(), 2);
        assert_eq!(instances.instances.items[0].vpc_attributes.vpc_id, "vpc-bp1aaaaaaaaaaaaaaaaaa");
        let switches: VSwitchPage =
            serde_json::from_str(include_str!("../tests/data/DescribeVSwitches.json")).unwrap();
        assert_eq!(switches.v_switches.items[0].ipv6_cidr_block, "2001:db8:10:5::/64");
        let role: AssumedRole =
            serde_json::from_str(include_str!("../tests/data/AssumeRoleWithOIDC.json")).unwrap();
        assert_eq!(role.credentials.unwrap().access_key_id, "STS.EXAMPLE");
    }

    #[test]
    fn wrappers_may_be_absent_null_or_empty() {
        for text in [
            "{}",
            r#"{"NetworkInterfaceSets":null,"NextToken":null}"#,
            r#"{"NetworkInterfaceSets":{}}"#,
            r#"{"NetworkInterfaceSets":{"NetworkInterfaceSet":null}}"#,
        ] {
            let page: NicPage = serde_json::from_str(text).unwrap();
            assert!(page.network_interface_sets.items.is_empty(), "{text}");
        }
    }
}
