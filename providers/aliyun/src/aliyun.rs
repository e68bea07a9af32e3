//! The provider: one VPC of one region, read through ECS and VPC.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use model::{Claim, InstanceId, Inventory, Node, ProviderName, Scope};
use providers::{Class, Error, Provider};
use serde::de::DeserializeOwned;

use crate::api::{Call, Exchange, Observer, Product};
use crate::claim::claim;
use crate::credentials::Keeper;
use crate::deadline::Deadline;
use crate::environment::Environment;
use crate::http::Http;
use crate::inventory::{Rules, explained, inventory};
use crate::metadata::{Metadata, Unhardened};
use crate::pages::{MOST_PAGES, Pages, failed};
use crate::place::{Place, Reach, is_region, own_endpoint, sts_endpoint, suffix};
use crate::settings::{Endpoint, Endpoints, Settings, Tag, Timeouts};
use crate::vswitches::{Need, VSwitchCache, VSwitches, subnet};
use crate::wire::{BriefNicShape, InstancePage, NicPage, NicShape, VSwitchPage};

/// The most NICs that a page holds; more is cut to this by the cloud.
const NICS_A_PAGE: usize = 500;

/// The most vSwitches that a page holds.
const VSWITCHES_A_PAGE: u64 = 50;

/// The most ids that one call may name, and the most instances on a page.
const IDS_A_CALL: usize = 100;

/// Alibaba Cloud as a [`Provider`].
///
/// Reads the NICs of one VPC. Credentials come from the vendor's chain: the access key in the environment, the OIDC
/// variables of RRSA, the RAM role of the instance.
pub struct Aliyun {
    name: ProviderName,
    region: Option<String>,
    vpc_id: Option<String>,
    endpoints: Endpoints,
    unmanaged: Tag,
    timeouts: Timeouts,
    from: Reach,
    exchange: Arc<Exchange>,
    keeper: Keeper,
    metadata: Arc<Metadata>,
    place: OnceLock<Place>,
    vswitches: VSwitchCache,
}

impl Aliyun {
    /// Builds the provider from the configuration and this process's environment; makes no call.
    ///
    /// # Errors
    /// [`Class::Invalid`] when a setting is malformed, or when the program has installed no TLS crypto provider.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::with_environment(settings, &Environment::from_process())
    }

    /// Builds the provider like [`new`](Self::new), with other environment variables.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_environment(settings: Settings, environment: &Environment) -> Result<Self, Error> {
        let Settings { name, region, vpc_id, endpoints, unmanaged_tag, limits, timeouts } = settings;
        let invalid = |reason: String| Error::new(Class::Invalid, format!("provider {name}: {reason}"));
        if let Some(region) = region.as_deref().filter(|region| !is_region(region)) {
            return Err(invalid(format!("region {region:?} is not like cn-hangzhou")));
        }
        if vpc_id.as_deref() == Some("") {
            return Err(invalid("vpcID is empty; leave it out to ask the metadata service".to_owned()));
        }
        let from = if environment.is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED") {
            Reach::Vpc
        } else {
            Reach::Internet
        };
        let http =
            Http::new(timeouts.connect).map_err(|reason| invalid(format!("cannot set up TLS: {reason}")))?;
        let sts = sts_endpoint(&endpoints, environment, region.as_deref(), from).map_err(invalid)?;
        let metadata_endpoint = match &endpoints.metadata {
            Some(endpoint) => endpoint.clone(),
            None => own_endpoint("http://100.100.100.200").map_err(invalid)?,
        };
        let unhardened = if environment.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED") {
            Unhardened::Refused
        } else {
            Unhardened::Allowed
        };
        let metadata =
            Arc::new(Metadata::new(http.direct().clone(), metadata_endpoint, unhardened, timeouts.metadata));
        let exchange = Arc::new(Exchange::new(http, sts, limits, timeouts.call));
        let keeper = Keeper::new(environment, Arc::clone(&metadata), Arc::clone(&exchange));
        Ok(Self {
            name,
            region,
            vpc_id,
            endpoints,
            unmanaged: unmanaged_tag,
            timeouts,
            from,
            exchange,
            keeper,
            metadata,
            place: OnceLock::new(),
            vswitches: VSwitchCache::default(),
        })
    }

    /// Sets who is told of every API call, retries included.
    #[must_use]
    pub fn with_observer(self, observer: Observer) -> Self {
        self.exchange.observe(observer);
        self
    }

    /// Finds out region and VPC, where the configuration does not give them; the answer is kept.
    ///
    /// [`list`](Provider::list) and [`describe`](Provider::describe) do so by themselves. Call it when
    /// [`claim`](Provider::claim) is needed before the first reading: until the region is known, nodes that may be ours
    /// are [`Claim::Unreadable`].
    ///
    /// # Errors
    /// [`Class::Transient`] when the metadata service does not answer, [`Class::Invalid`] when it knows no VPC.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.place(Deadline::after(self.timeouts.reading)).await.map(|_| ())
    }

    async fn place(&self, deadline: Deadline) -> Result<&Place, Error> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let region = self.given_or_told(self.region.as_deref(), "region", "region-id", deadline).await?;
        let vpc_id = self.given_or_told(self.vpc_id.as_deref(), "vpcID", "vpc-id", deadline).await?;
        let invalid =
            |reason: String| Error::new(Class::Invalid, format!("provider {}: {reason}", self.name));
        if !is_region(&region) {
            return Err(invalid(format!("the metadata service names the region {region:?}; set `region`")));
        }
        let endpoint = |given: &Option<Endpoint>, product: &str| match given {
            Some(endpoint) => Ok(endpoint.clone()),
            None => own_endpoint(&format!("https://{product}{}.{region}.aliyuncs.com", suffix(self.from))),
        };
        let ecs = endpoint(&self.endpoints.ecs, "ecs").map_err(invalid)?;
        let vpc = endpoint(&self.endpoints.vpc, "vpc").map_err(invalid)?;
        Ok(self.place.get_or_init(|| Place { region, vpc_id, ecs, vpc }))
    }

    async fn given_or_told(
        &self,
        given: Option<&str>,
        setting: &str,
        path: &str,
        deadline: Deadline,
    ) -> Result<String, Error> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let name = &self.name;
        let told = self.metadata.get(path, deadline).await.map_err(|error| {
            Error::new(
                error.class,
                format!("provider {name}: `{setting}` is not set, and {error}; set `{setting}`"),
            )
        })?;
        told.filter(|text| !text.is_empty()).ok_or_else(|| {
            let reason =
                format!("`{setting}` is not set, and the metadata service does not know it; set `{setting}`");
            Error::new(Class::Invalid, format!("provider {name}: {reason}"))
        })
    }

    async fn ecs<T: DeserializeOwned>(
        &self,
        place: &Place,
        action: &str,
        parameters: &[(String, String)],
        subject: &str,
        deadline: Deadline,
    ) -> Result<T, Error> {
        let call = Call { product: Product::Ecs, endpoint: &place.ecs, action, parameters, subject };
        self.exchange.signed(&self.keeper, &call, deadline).await
    }

    /// Reads all pages of the NICs that `filter` lets through. Any failure fails the whole.
    async fn nics(
        &self,
        place: &Place,
        filter: &[(String, String)],
        subject: &str,
        deadline: Deadline,
    ) -> Result<Vec<NicShape>, Error> {
        const ACTION: &str = "DescribeNetworkInterfaces";
        let mut nics = BTreeMap::new();
        let mut pages = Pages::new(ACTION, subject, &place.ecs);
        let mut parameters = place.with_region(filter);
        // It also switches paging by token on: without it the cloud pages by number, ten at a time.
        parameters.push(("MaxResults".to_owned(), NICS_A_PAGE.to_string()));
        loop {
            let mut page_parameters = parameters.clone();
            page_parameters.extend(pages.token().map(|token| ("NextToken".to_owned(), token)));
            let page: NicPage = self.ecs(place, ACTION, &page_parameters, subject, deadline).await?;
            if page.network_interface_sets.items.iter().any(|nic| nic.network_interface_id.is_empty()) {
                // It may be any of those that we know, so nothing of the listing can be trusted to be absent.
                return Err(pages.error("the reply holds a NIC without an id"));
            }
            // Pages of one listing can show a NIC twice when others are made meanwhile; the later page is the newer.
            let items = page.network_interface_sets.items.into_iter();
            nics.extend(items.map(|nic| (nic.network_interface_id.clone(), nic)));
            if !pages.next(page.next_token, nics.len())? {
                return Ok(nics.into_values().collect());
            }
        }
    }

    /// Reads the instances of our VPC among `ids`, each with the NICs it has.
    async fn instances(
        &self,
        place: &Place,
        ids: &[&InstanceId],
        deadline: Deadline,
    ) -> Result<BTreeMap<InstanceId, Vec<BriefNicShape>>, Error> {
        const ACTION: &str = "DescribeInstances";
        let subject = place.some(ids, "instance");
        let mut found = BTreeMap::new();
        let mut pages = Pages::new(ACTION, &subject, &place.ecs);
        let list = serde_json::Value::from(ids.iter().map(|id| id.as_str()).collect::<Vec<_>>()).to_string();
        let own = [("InstanceIds".to_owned(), list), ("MaxResults".to_owned(), IDS_A_CALL.to_string())];
        let parameters = place.with_region(&own);
        loop {
            let mut page_parameters = parameters.clone();
            page_parameters.extend(pages.token().map(|token| ("NextToken".to_owned(), token)));
            let page: InstancePage = self.ecs(place, ACTION, &page_parameters, &subject, deadline).await?;
            for instance in page.instances.items {
                let vpc = instance.vpc_attributes.vpc_id;
                if !instance.instance_id.is_empty() && (vpc.is_empty() || vpc == place.vpc_id) {
                    found.insert(InstanceId::from(instance.instance_id), instance.network_interfaces.items);
                }
            }
            if !pages.next(page.next_token, found.len())? {
                return Ok(found);
            }
        }
    }

    /// Returns vSwitches that explain `nics`, listing them if need be, and what was odd about it.
    async fn vswitches(
        &self,
        place: &Place,
        nics: &[NicShape],
        deadline: Deadline,
    ) -> Result<(Arc<VSwitches>, Vec<String>), Error> {
        let old = match self.vswitches.need(Instant::now(), |known| explained(nics, known)) {
            Need::Nothing(vswitches) => return Ok((vswitches, Vec::new())),
            Need::Listing(old) => old,
        };
        let mut warnings = Vec::new();
        match (self.list_vswitches(place, &mut warnings, deadline).await, old) {
            (Ok(vswitches), _) => Ok((self.vswitches.keep(vswitches, Instant::now()), warnings)),
            (Err(error), Some(old)) => {
                Ok((old, vec![format!("the vSwitches are those of earlier: {error}")]))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn list_vswitches(
        &self,
        place: &Place,
        warnings: &mut Vec<String>,
        deadline: Deadline,
    ) -> Result<VSwitches, Error> {
        const ACTION: &str = "DescribeVSwitches";
        let subject = place.subject();
        let mut vswitches = VSwitches::new();
        let mut shown = 0;
        for page_number in 1..=MOST_PAGES {
            let own = [
                ("VpcId".to_owned(), place.vpc_id.clone()),
                ("PageSize".to_owned(), VSWITCHES_A_PAGE.to_string()),
                ("PageNumber".to_owned(), page_number.to_string()),
            ];
            let parameters = place.with_region(&own);
            let (endpoint, subject) = (&place.vpc, subject.as_str());
            let call =
                Call { product: Product::Vpc, endpoint, action: ACTION, parameters: &parameters, subject };
            let page: VSwitchPage = self.exchange.signed(&self.keeper, &call, deadline).await?;
            let empty = page.v_switches.items.is_empty();
            shown += u64::try_from(page.v_switches.items.len()).unwrap_or(u64::MAX);
            let read = page.v_switches.items.into_iter().filter_map(|shape| subnet(shape, warnings));
            vswitches.extend(read.map(|subnet| (subnet.id.clone(), subnet)));
            if empty && shown < page.total_count {
                let reason = format!("the pages held {shown} of {} vSwitches", page.total_count);
                return Err(failed(ACTION, subject, endpoint, &reason));
            }
            if empty || shown >= page.total_count {
                return Ok(vswitches);
            }
        }
        Err(failed(ACTION, &subject, &place.vpc, &format!("there is no end after {MOST_PAGES} pages")))
    }

    fn rules<'a>(&'a self, place: &'a Place) -> Rules<'a> {
        Rules { vpc_id: &place.vpc_id, unmanaged: &self.unmanaged }
    }
}

impl Provider for Aliyun {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn claim(&self, node: &Node) -> Claim {
        let known = self.place.get().map(|place| place.region.as_str());
        claim(node, self.region.as_deref().or(known))
    }

    async fn list(&self) -> Result<Inventory, Error> {
        let deadline = Deadline::after(self.timeouts.reading);
        let place = self.place(deadline).await?;
        let filter = [("VpcId".to_owned(), place.vpc_id.clone())];
        let nics = self.nics(place, &filter, &place.subject(), deadline).await?;
        let (vswitches, warnings) = self.vswitches(place, &nics, deadline).await?;
        if nics.is_empty() && vswitches.is_empty() {
            // A wrong VPC and a right one that our permissions hide look like this; a VPC with nodes does not.
            let (name, subject) = (&self.name, place.subject());
            let reason =
                format!("{subject} shows neither NIC nor vSwitch; check `vpcID`, `region` and permissions");
            return Err(Error::new(Class::Invalid, format!("provider {name}: {reason}")));
        }
        let mut reading = inventory(Scope::Whole, BTreeSet::new(), nics, &vswitches, self.rules(place));
        reading.warnings.splice(0..0, warnings);
        Ok(reading)
    }

    async fn describe(&self, instances: &BTreeSet<InstanceId>) -> Result<Inventory, Error> {
        let deadline = Deadline::after(self.timeouts.reading);
        let scope = Scope::Instances(instances.clone());
        if instances.is_empty() {
            return Ok(Inventory { scope, ..Inventory::default() });
        }
        let place = self.place(deadline).await?;
        let mut found = BTreeMap::new();
        for ids in instances.iter().collect::<Vec<_>>().chunks(IDS_A_CALL) {
            found.extend(self.instances(place, ids, deadline).await?);
        }
        let known: BTreeSet<InstanceId> = found.keys().cloned().collect();
        let brief: BTreeMap<String, (InstanceId, BriefNicShape)> = found
            .into_iter()
            .flat_map(|(instance, nics)| nics.into_iter().map(move |nic| (instance.clone(), nic)))
            .map(|(instance, nic)| (nic.network_interface_id.clone(), (instance, nic)))
            .filter(|(id, _)| !id.is_empty())
            .collect();
        let mut nics = Vec::new();
        for ids in brief.keys().collect::<Vec<_>>().chunks(IDS_A_CALL) {
            let filter: Vec<(String, String)> =
                (1..).zip(ids).map(|(n, id)| (format!("NetworkInterfaceId.{n}"), (*id).clone())).collect();
            nics.extend(self.nics(place, &filter, &place.some(ids, "NIC"), deadline).await?);
        }
        let (vswitches, mut warnings) = self.vswitches(place, &nics, deadline).await?;
        let shown: HashSet<String> = nics.iter().map(|nic| nic.network_interface_id.clone()).collect();
        for (id, (instance, nic)) in brief {
            if !shown.contains(&id) {
                warnings
                    .push(format!("NIC {id}: instance {instance} lists it, but it cannot be described yet"));
                nics.push(unseen(&instance, nic, &place.vpc_id));
            }
        }
        let mut reading = inventory(scope, known, nics, &vswitches, self.rules(place));
        reading.warnings.splice(0..0, warnings);
        Ok(reading)
    }
}

impl fmt::Debug for Aliyun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aliyun")
            .field("name", &self.name)
            .field("region", &self.region)
            .field("vpc_id", &self.vpc_id)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Returns what is known of a NIC that an instance lists and that cannot be described: it exists, so its addresses are
/// not gone, but nothing can be done with it. Its status keeps it left alone.
fn unseen(instance: &InstanceId, nic: BriefNicShape, vpc_id: &str) -> NicShape {
    NicShape {
        network_interface_id: nic.network_interface_id,
        r#type: nic.r#type,
        mac_address: nic.mac_address,
        instance_id: instance.as_str().to_owned(),
        vpc_id: vpc_id.to_owned(),
        ..NicShape::default()
    }
}
