//! `type: aliyun`.

use providers::{Error, Problem};
use providers_aliyun::{Aliyun, Endpoint, Endpoints, Tag};

use super::Section;
use crate::file;

pub(crate) use providers_aliyun::Settings;

pub(crate) const SOURCE: &str = "Alibaba Cloud API";

pub(crate) const KEYS: &[&str] = &["interfaceName", "region", "vpcID", "endpoints", "unmanagedTag"];

pub(crate) fn check(section: &Section<'_>) -> Result<Settings, Vec<Problem>> {
    let Section { name, given, multus: _, at } = *section;
    let mut problems = Vec::new();
    let mut settings = Settings::new(name.clone());
    for (key, text, slot) in
        [("region", &given.region, &mut settings.region), ("vpcID", &given.vpc_id, &mut settings.vpc_id)]
    {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            problems.push(Problem::new(
                at.key(key),
                "is empty; leave it out to take it from the metadata service",
            ));
        }
        slot.clone_from(text);
    }
    if let Some(file::Endpoints { ecs, vpc, sts, metadata }) = &given.endpoints {
        let at = at.key("endpoints");
        let mut endpoint = |key: &str, text: &Option<String>| {
            let endpoint = text.as_ref().map(|text| text.parse::<Endpoint>()).transpose();
            endpoint
                .map_err(|error| problems.push(Problem::new(at.key(key), error.to_string())))
                .ok()
                .flatten()
        };
        settings.endpoints = Endpoints {
            ecs: endpoint("ecs", ecs),
            vpc: endpoint("vpc", vpc),
            sts: endpoint("sts", sts),
            metadata: endpoint("metadata", metadata),
        };
    }
    if let Some(tag) = &given.unmanaged_tag {
        if tag.key.is_empty() {
            problems.push(Problem::new(at.key("unmanagedTag").key("key"), "is empty"));
        }
        settings.unmanaged_tag = Tag { key: tag.key.clone(), value: tag.value.clone() };
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

pub(crate) fn open(settings: &Settings) -> Result<Aliyun, Error> {
    Aliyun::new(settings.clone())
}
