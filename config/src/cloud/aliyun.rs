//! `type: aliyun`.

use providers::{Error, Problem};
use providers_aliyun::{Aliyun, Endpoint, Endpoints, Tag};

use super::Section;
use crate::file;
use crate::parse::is_label;

pub(crate) use providers_aliyun::Settings;

pub(crate) const SOURCE: &str = "Alibaba Cloud API";

pub(crate) const KEYS: &[&str] = &["interfaceName", "region", "vpcID", "endpoints", "unmanagedTag"];

pub(crate) fn check(section: &Section<'_>) -> Result<Settings, Vec<Problem>> {
    let Section { name, given, multus: _, at } = *section;
    let mut problems = Vec::new();
    let mut settings = Settings::new(name.clone());
    let places = [
        ("region", "cn-hangzhou", &given.region, &mut settings.region),
        ("vpcID", "vpc-0abc", &given.vpc_id, &mut settings.vpc_id),
    ];
    for (key, example, text, slot) in places {
        if let Some(text) = text.as_ref().filter(|text| !is_label(text)) {
            let message = format!("{text:?} is not like {example}; leave it out to ask the metadata service");
            problems.push(Problem::new(at.key(key), message));
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
