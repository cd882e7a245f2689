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
            let [first, second, third, _] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || first == 0
                // RFC 6598, shared by carriers.
                || (first == 100 && second & 0xc0 == 64)
                // RFC 6890 and RFC 2544: for protocols' own use, and for measurements.
                || (first == 192 && second == 0 && third == 0)
                || (first == 198 && second & 0xfe == 18)
                // RFC 1112, reserved: some networks use it inside.
                || first >= 240
        }
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                // RFC 3879, once what unique local addresses are; RFC 8215, translation inside a network.
                || first & 0xffc0 == 0xfec0
                || (first, second, third) == (0x64, 0xff9b, 1)
                || behind(address).is_some_and(|address| is_private(address.into()))
        }
    }
}

/// The IPv4 address to which a network may carry what is sent to an IPv6 address: RFC 6052 translates, RFC 3056
/// tunnels, and RFC 4291 once had both in one.
fn behind(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
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
        for address in [
            "8.8.8.8",
            "198.17.0.1",
            "192.0.1.1",
            "2001:4860:4860::8888",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "10.1.2.3",
            "::ffff:10.1.2.3",
        ] {
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
            "192.0.0.8",
            "198.19.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "::ffff:192.168.1.1",
            "::192.168.1.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::1",
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
