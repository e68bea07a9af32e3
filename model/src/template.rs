//! Name templates: what a NIC is called in its guest, and which `SpiderMultusConfig` stands for that name.

use std::fmt;
use std::str::FromStr;

/// The kernel's `IFNAMSIZ` less the closing NUL: the longest interface name in bytes.
const INTERFACE_MAX: usize = 15;
/// The longest name of a namespace in bytes (a DNS-1123 label).
const LABEL_MAX: usize = 63;
/// The longest name of an object in bytes (a DNS-1123 subdomain).
const SUBDOMAIN_MAX: usize = 253;
/// The highest NIC index that a template must have room for: no cloud attaches a thousand NICs to an instance.
const INDEX_MAX: u32 = 999;

/// Why a template cannot be used, or gives no valid name for one NIC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A template without its placeholder would give every NIC one name.
    #[error("{template:?} has no {placeholder}, so all NICs would share one name")]
    NoPlaceholder {
        /// The template as it was given.
        template: String,
        /// The placeholder that it needs.
        placeholder: &'static str,
    },
    /// A brace that belongs to no placeholder: a mistyped one.
    #[error("{template:?} has a brace that is not part of {placeholder}, the only placeholder here")]
    UnknownPlaceholder {
        /// The template as it was given.
        template: String,
        /// The placeholder that it may have.
        placeholder: &'static str,
    },
    /// The name is none that Linux gives to an interface.
    #[error("{name:?} is no interface name: 1 to 15 bytes without '/', ':' and white space")]
    Interface {
        /// The name.
        name: String,
    },
    /// The text is not `namespace/name`.
    #[error("{text:?} is not of the form namespace/name")]
    NoNamespace {
        /// The text as it was given.
        text: String,
    },
    /// The name is none that Kubernetes gives to an object.
    #[error("{name:?} is no {what}: lower-case letters, digits{also} inside, at most {max} bytes")]
    Kubernetes {
        /// The name.
        name: String,
        /// What it was to be: `namespace` or `object name`.
        what: &'static str,
        /// What may stand between letters and digits.
        also: &'static str,
        /// The longest it may be.
        max: usize,
    },
}

/// Checks a name by the kernel's rule for interface names.
///
/// # Errors
/// The name, when Linux would refuse it.
pub fn check_interface(name: &str) -> Result<(), TemplateError> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > INTERFACE_MAX || name == "." || name == ".." || name.contains(bad) {
        return Err(TemplateError::Interface { name: name.to_owned() });
    }
    Ok(())
}

/// Names a NIC's interface by its index, until the node's agent reports the real name: `eth{index}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceTemplate(String);

impl InterfaceTemplate {
    const PLACEHOLDER: &str = "{index}";

    /// Returns the interface name of the NIC at this index.
    ///
    /// # Errors
    /// The name, when it gets longer than Linux allows; a parsed template has room for every index up to 999.
    pub fn render(&self, index: u32) -> Result<String, TemplateError> {
        let name = self.0.replace(Self::PLACEHOLDER, &index.to_string());
        check_interface(&name)?;
        Ok(name)
    }
}

impl Default for InterfaceTemplate {
    /// Returns `eth{index}`: what the clouds' own images call their NICs.
    fn default() -> Self {
        Self(format!("eth{}", Self::PLACEHOLDER))
    }
}

impl FromStr for InterfaceTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        check_placeholder(text, Self::PLACEHOLDER)?;
        let template = Self(text.to_owned());
        template.render(INDEX_MAX)?;
        Ok(template)
    }
}

impl fmt::Display for InterfaceTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a `SpiderMultusConfig`: `namespace/name`, as a pool's `multusName` holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MultusName {
    namespace: String,
    name: String,
}

impl MultusName {
    /// Returns the namespace: a valid DNS-1123 label.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the object's name: a valid DNS-1123 subdomain.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for MultusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for MultusName {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (namespace, name) = text
            .split_once('/')
            .filter(|(_, name)| !name.contains('/'))
            .ok_or_else(|| TemplateError::NoNamespace { text: text.to_owned() })?;
        if namespace.len() > LABEL_MAX || !is_label(namespace) {
            return Err(TemplateError::Kubernetes {
                name: namespace.to_owned(),
                what: "namespace",
                also: ", and '-'",
                max: LABEL_MAX,
            });
        }
        if name.len() > SUBDOMAIN_MAX || !name.split('.').all(is_label) {
            return Err(TemplateError::Kubernetes {
                name: name.to_owned(),
                what: "object name",
                also: ", and '-' or '.'",
                max: SUBDOMAIN_MAX,
            });
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// Finds the `SpiderMultusConfig` of an interface name: `kube-system/ipvlan-{interface}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultusTemplate(String);

impl MultusTemplate {
    const PLACEHOLDER: &str = "{interface}";

    /// Returns the place of the `SpiderMultusConfig` for an interface.
    ///
    /// # Errors
    /// The name, when the interface has letters that an object's name cannot have (upper case, `_`).
    pub fn render(&self, interface: &str) -> Result<MultusName, TemplateError> {
        self.0.replace(Self::PLACEHOLDER, interface).parse()
    }
}

impl Default for MultusTemplate {
    /// Returns `kube-system/ipvlan-{interface}`.
    fn default() -> Self {
        Self(format!("kube-system/ipvlan-{}", Self::PLACEHOLDER))
    }
}

impl FromStr for MultusTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        check_placeholder(text, Self::PLACEHOLDER)?;
        let template = Self(text.to_owned());
        // The longest name that Linux allows, so that no interface can make the result too long later.
        let sample = "e".repeat(INTERFACE_MAX);
        template.render(&sample).map_err(|error| match error {
            TemplateError::Kubernetes { name, what, also, max } => {
                let name = name.replace(&sample, Self::PLACEHOLDER);
                TemplateError::Kubernetes { name, what, also, max }
            }
            TemplateError::NoNamespace { .. } => TemplateError::NoNamespace { text: text.to_owned() },
            other => other,
        })?;
        Ok(template)
    }
}

impl fmt::Display for MultusTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_placeholder(template: &str, placeholder: &'static str) -> Result<(), TemplateError> {
    let rest = template.replace(placeholder, "");
    let template = template.to_owned();
    if rest.contains(['{', '}']) {
        return Err(TemplateError::UnknownPlaceholder { template, placeholder });
    }
    if rest == template {
        return Err(TemplateError::NoPlaceholder { template, placeholder });
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_templates() {
        let interface = InterfaceTemplate::default();
        let multus = MultusTemplate::default();
        assert_eq!(interface.to_string().parse(), Ok(interface));
        assert_eq!(multus.to_string().parse(), Ok(multus));
    }

    #[test]
    fn a_nic_is_named_by_its_index() {
        assert_eq!(InterfaceTemplate::default().render(1).unwrap(), "eth1");
        assert_eq!("ens{index}s0".parse::<InterfaceTemplate>().unwrap().render(12).unwrap(), "ens12s0");
    }

    #[test]
    fn an_interface_has_one_multus_name() {
        let name = MultusTemplate::default().render("eth0").unwrap();
        assert_eq!((name.namespace(), name.name()), ("kube-system", "ipvlan-eth0"));
        assert_eq!(name.to_string(), "kube-system/ipvlan-eth0");
    }

    #[test]
    fn an_interface_that_kubernetes_cannot_name_is_an_error_of_its_own() {
        let error = MultusTemplate::default().render("Eth_0").unwrap_err().to_string();
        assert!(error.contains("\"ipvlan-Eth_0\" is no object name"), "{error}");
    }

    #[test]
    fn interface_templates_that_cannot_work_are_refused() {
        for (text, why) in [
            ("eth0", "has no {index}"),
            ("", "has no {index}"),
            ("eth{idx}", "has a brace that is not part of {index}"),
            ("eth{index}}", "has a brace"),
            ("eth/{index}", "no interface name"),
            ("eth {index}", "no interface name"),
            ("eth:{index}", "no interface name"),
            ("a-very-long-n{index}", "no interface name"),
        ] {
            let error = text.parse::<InterfaceTemplate>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_interface_template_leaves_room_for_three_digits() {
        assert!("123456789012{index}".parse::<InterfaceTemplate>().is_ok());
        assert!("1234567890123{index}".parse::<InterfaceTemplate>().is_err());
    }

    #[test]
    fn multus_templates_that_cannot_work_are_refused() {
        let long = format!("kube-system/{}{{interface}}", "a".repeat(239));
        for (text, why) in [
            ("kube-system/ipvlan", "has no {interface}"),
            ("kube-system/ipvlan-{index}", "has a brace that is not part of {interface}"),
            ("ipvlan-{interface}", "is not of the form namespace/name"),
            ("a/b/{interface}", "is not of the form namespace/name"),
            ("Kube/{interface}", "\"Kube\" is no namespace"),
            ("kube.system/{interface}", "\"kube.system\" is no namespace"),
            ("/{interface}", "\"\" is no namespace"),
            ("kube-system/IPvlan-{interface}", "\"IPvlan-{interface}\" is no object name"),
            ("kube-system/-{interface}", "\"-{interface}\" is no object name"),
            (long.as_str(), "at most 253 bytes"),
        ] {
            let error = text.parse::<MultusTemplate>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernels_rule() {
        for name in ["eth0", "enp3s0f0.100", "a", "123456789012345", "E_0"] {
            assert_eq!(check_interface(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "1234567890123456", "a/b", "a:b", "a b", "a\n"] {
            assert!(check_interface(name).is_err(), "{name:?}");
        }
    }
}
