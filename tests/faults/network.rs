//! A network of its own for one worker, whose cable can be pulled: packets are dropped, and nobody is told.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// A network namespace with one cable to this machine. Only root may make one. It is removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    /// Chosen at random, so that runs side by side do not meet.
    subnet: u8,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let complaint = || format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(complaint)
}

impl Network {
    pub(crate) fn create() -> Result<Self, String> {
        let network = Self { name: format!("pubsub-{:04x}", fastrand::u16(..)), subnet: fastrand::u8(..) };
        let Self { name, subnet } = &network;
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name} type veth peer name cable netns {name}"))?;
        ip(&format!("addr add 10.213.{subnet}.1/24 dev {name}"))?;
        ip(&format!("link set {name} up"))?;
        ip(&format!("-n {name} addr add 10.213.{subnet}.2/24 dev cable"))?;
        ip(&format!("-n {name} link set cable up"))?;
        Ok(network)
    }

    /// The address of this machine on the cable.
    pub(crate) fn address(&self) -> IpAddr {
        Ipv4Addr::new(10, 213, self.subnet, 1).into()
    }

    /// A command that runs a program inside.
    pub(crate) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Pulls the cable out, or puts it in.
    pub(crate) fn set_cable(&self, connected: bool) {
        // At the far end. At this end the machine would answer that there is no way.
        let state = if connected { "up" } else { "down" };
        ip(&format!("-n {} link set cable {state}", self.name)).expect("the cable is there");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with the namespace. A process inside keeps it until it ends.
        if let Err(error) = ip(&format!("netns delete {}", self.name)) {
            eprintln!("{error}");
        }
    }
}
