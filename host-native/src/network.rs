//! Which addresses this host's endpoints may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet;

/// Rules for connections to gateways and providers.
///
/// A base URL may name, or resolve to, an address inside the operator's own network. Where base URLs come from somebody
/// less trusted than the machine, that must not be a way in.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Private addresses (of this machine, this link, or a private network) that may be reached. Without a list, all of
    /// them may. Connections through a proxy are made by the proxy, and only addresses in the base URL are judged then.
    pub allow_private: Option<Vec<IpNet>>,
}

impl Network {
    /// Only this machine's own addresses, of all private ones.
    #[must_use]
    pub fn loopback() -> Self {
        let loopback = [IpNet::from(IpAddr::V4(Ipv4Addr::LOCALHOST)), IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))];
        let [v4, v6] = loopback;
        let v4 = IpNet::new(v4.addr(), 8).unwrap_or(v4);
        Self { allow_private: Some(vec![v4, v6]) }
    }

    /// Whether an address may be reached.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match &self.allow_private {
            Some(allowed) if is_private(address) => allowed.iter().any(|net| net.contains(&address)),
            Some(_) | None => true,
        }
    }
}

/// Whether an address is not one of the public internet's.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || first == 0
                // RFC 6598, shared by carriers.
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(network: &Network, address: &str) -> bool {
        network.permits(address.parse().unwrap())
    }

    #[test]
    fn without_a_list_everything_may_be_reached() {
        assert!(permits(&Network::default(), "10.0.0.1") && permits(&Network::default(), "169.254.169.254"));
    }

    #[test]
    fn with_a_list_private_addresses_need_to_be_on_it() {
        let network = Network { allow_private: Some(vec!["10.1.0.0/16".parse().unwrap()]) };
        for address in ["8.8.8.8", "2001:4860:4860::8888", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!(permits(&network, address), "{address}");
        }
        for address in [
            "10.2.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:192.168.1.1",
        ] {
            assert!(!permits(&network, address), "{address}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        assert!(permits(&Network::loopback(), "127.0.0.9") && permits(&Network::loopback(), "::1"));
        assert!(!permits(&Network::loopback(), "10.0.0.1"));
    }
}
