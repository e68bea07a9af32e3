"""Drives the simulator with the vendor's own SDK, to prove that its replies are shaped right.

Every reply is parsed by the SDK's model and written back; a key that the model does not know, or loses, fails.
Usage: aliyun_sdk.py, with ECS, VPC, STS (host:port), KEY, SECRET, ROLE, PROVIDER and OIDC_TOKEN in the environment.
"""

import os

from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_ecs20140526.client import Client as Ecs
from alibabacloud_sts20150401 import models as sts
from alibabacloud_sts20150401.client import Client as Sts
from alibabacloud_tea_openapi.utils_models import Config
from alibabacloud_vpc20160428 import models as vpc
from alibabacloud_vpc20160428.client import Client as Vpc
from darabonba.runtime import RuntimeOptions

REGION = "cn-hangzhou"
NIC = "eni-bp1worker1"
ONCE = RuntimeOptions(autoretry=False, max_attempts=1, read_timeout=10000, connect_timeout=2000)
checks = 0


def check(condition, *what):
    global checks
    checks += 1
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def lost(raw, kept, path=""):
    """The paths of what came over the wire and the model did not keep. The model may add empty lists of its own."""
    if isinstance(raw, dict) and isinstance(kept, dict):
        return [it for key in raw for it in lost(raw[key], kept.get(key, "(lost)"), f"{path}/{key}")]
    if isinstance(raw, list) and isinstance(kept, list) and len(raw) == len(kept):
        return [it for n, pair in enumerate(zip(raw, kept)) for it in lost(*pair, f"{path}/{n}")]
    return [] if raw == kept else [(path, raw, kept)]


def client(kind, where, secret=os.environ["SECRET"]):
    """A client that keeps the raw reply beside the parsed one."""
    made = kind(
        Config(
            protocol="http",
            endpoint=os.environ[where],
            region_id=REGION,
            access_key_id=os.environ["KEY"],
            access_key_secret=secret,
        )
    )

    def record(name):
        call = getattr(made, name)

        def recorded(*arguments):
            made.raw = call(*arguments)
            return made.raw

        setattr(made, name, recorded)

    # An anonymous action goes the second way.
    record("call_api")
    record("do_rpcrequest")
    return made


def ask(made, action, request):
    """Calls an action, and compares what the model keeps with what came over the wire."""
    # The SDK writes one of its actions without the underscore.
    call = getattr(made, f"{action}_with_options", None) or getattr(made, f"{action}with_options")
    reply = call(request, ONCE)
    raw = made.raw["body"]
    gone = lost(raw, reply.body.to_map())
    check(not gone, action, "keys lost", gone[:5])
    check(raw["RequestId"], action, "RequestId")
    return reply.body


def refused(made, action, request):
    """The code with which a call is refused."""
    try:
        getattr(made, f"{action}_with_options")(request, ONCE)
    except Exception as error:  # the SDK's own classes differ from version to version; all have a code
        return error.code
    raise SystemExit(f"FAILED: {action} was not refused")


def all_nics(made, **filters):
    nics, token, pages = [], None, 0
    while True:
        request = ecs.DescribeNetworkInterfacesRequest(region_id=REGION, max_results=500, next_token=token, **filters)
        body = ask(made, "describe_network_interfaces", request)
        nics += body.network_interface_sets.network_interface_set
        pages += 1
        token = body.next_token
        if not token:
            return nics, pages


def listing(made):
    nics, pages = all_nics(made, vpc_id="vpc-bp1large")
    check(len(nics) == 1200 and pages == 3, "paging", len(nics), pages)
    check(len({nic.network_interface_id for nic in nics}) == 1200, "every NIC once")
    nics, _ = all_nics(made, vpc_id="vpc-bp1seed")
    seed = {nic.network_interface_id: nic for nic in nics}
    check(len(seed) == 4, "seed", seed)
    worker = seed[NIC]
    secondary = [it.private_ip_address for it in worker.private_ip_sets.private_ip_set if not it.primary]
    check(secondary == [f"192.168.0.{n}" for n in range(161, 166)], "secondary", secondary)
    check(worker.ipv_6sets.ipv_6set[0].ipv_6address == "2001:db8:31:c0c0::161", "IPv6")
    check(worker.attachment.device_index == 1, "device index")
    check(worker.attachment.instance_id == "i-bp1worker", "attachment")
    numbered = ecs.DescribeNetworkInterfacesRequest(region_id=REGION, page_number=2, page_size=3, vpc_id="vpc-bp1seed")
    body = ask(made, "describe_network_interfaces", numbered)
    check(body.total_count == 4 and len(body.network_interface_sets.network_interface_set) == 1, "page numbers")
    odd = [ecs.DescribeNetworkInterfacesRequestTag(key="a b*~/+ü", value="c d*~/+é")]
    request = ecs.DescribeNetworkInterfacesRequest(region_id=REGION, tag=odd, max_results=10)
    body = ask(made, "describe_network_interfaces", request)
    found = body.network_interface_sets.network_interface_set
    check([nic.network_interface_id for nic in found] == [NIC], "a tag of odd characters is signed and found", found)
    check(found[0].tags.tag[0].tag_key == "a b*~/+ü", "tag keys")


def instances(made):
    request = ecs.DescribeInstancesRequest(region_id=REGION, instance_ids='["i-bp1master","i-bp1worker"]', max_results=100)
    body = ask(made, "describe_instances", request)
    names = [it.instance_name for it in body.instances.instance]
    check(names == ["master", "worker"], "instances", names)
    check(len(body.instances.instance[0].network_interfaces.network_interface) == 2, "NICs of an instance")
    request = ecs.DescribeInstanceTypesRequest(instance_types=["ecs.g7.xlarge"])
    body = ask(made, "describe_instance_types", request)
    check(body.instance_types.instance_type[0].eni_quantity == 4, "instance type")


def vswitches(made):
    body = ask(made, "describe_vswitches", vpc.DescribeVSwitchesRequest(vpc_id="vpc-bp1seed", page_size=50))
    cidrs = {it.v_switch_id: (it.cidr_block, it.ipv_6cidr_block) for it in body.v_switches.v_switch}
    check(cidrs["vsw-bp1seed1"] == ("192.168.0.0/24", "2001:db8:31:c0c0::/64"), "vSwitches", cidrs)
    check(body.total_count == 2, "total")


def addresses(made):
    request = ecs.AssignPrivateIpAddressesRequest(
        region_id=REGION, network_interface_id=NIC, secondary_private_ip_address_count=2, client_token="one"
    )
    first = ask(made, "assign_private_ip_addresses", request).assigned_private_ip_addresses_set.private_ip_set
    again = ask(made, "assign_private_ip_addresses", request).assigned_private_ip_addresses_set.private_ip_set
    new = first.private_ip_address
    check(len(new) == 2 and again.private_ip_address == new, "a client token repeats the answer", new)
    request = ecs.AssignPrivateIpAddressesRequest(region_id=REGION, network_interface_id=NIC, ipv_4prefix_count=1)
    prefixes = ask(made, "assign_private_ip_addresses", request).assigned_private_ip_addresses_set.ipv_4prefix_set
    check(len(prefixes.ipv_4prefixes) == 1, "prefixes", prefixes)
    request = ecs.AssignIpv6AddressesRequest(
        region_id=REGION, network_interface_id=NIC, ipv_6address_count=1, ipv_6prefix_count=1
    )
    six = ask(made, "assign_ipv_6addresses", request)
    taken = [it.private_ip_address for it in all_nics(made, network_interface_id=[NIC])[0][0].private_ip_sets.private_ip_set]
    check(set(new) <= set(taken), "assigned addresses are listed", taken)
    for wish in (
        ecs.UnassignPrivateIpAddressesRequest(region_id=REGION, network_interface_id=NIC, private_ip_address=new),
        ecs.UnassignPrivateIpAddressesRequest(
            region_id=REGION, network_interface_id=NIC, ipv_4prefix=prefixes.ipv_4prefixes
        ),
    ):
        ask(made, "unassign_private_ip_addresses", wish)
    ask(
        made,
        "unassign_ipv_6addresses",
        ecs.UnassignIpv6AddressesRequest(
            region_id=REGION,
            network_interface_id=NIC,
            ipv_6address=six.ipv_6sets.ipv_6address,
            ipv_6prefix=six.ipv_6prefix_sets.ipv_6prefix,
        ),
    )
    nic = all_nics(made, network_interface_id=[NIC])[0][0]
    check(len(nic.private_ip_sets.private_ip_set) == 6, "unassigned addresses are gone")


def lifecycle(made):
    request = ecs.CreateNetworkInterfaceRequest(
        region_id=REGION,
        v_switch_id="vsw-bp1seed1",
        security_group_id="sg-a",
        secondary_private_ip_address_count=2,
        ipv_6address_count=1,
        tag=[ecs.CreateNetworkInterfaceRequestTag(key="creator", value="test")],
        client_token="made",
    )
    nic = ask(made, "create_network_interface", request)
    check(len(nic.private_ip_sets.private_ip_set) == 3 and nic.status == "Available", "created", nic)
    on = {"region_id": REGION, "network_interface_id": nic.network_interface_id, "instance_id": "i-bp1master"}
    ask(made, "attach_network_interface", ecs.AttachNetworkInterfaceRequest(**on))
    seen = all_nics(made, network_interface_id=[nic.network_interface_id])[0][0]
    check((seen.status, seen.instance_id) == ("InUse", "i-bp1master"), "attached", seen.status)
    ask(made, "detach_network_interface", ecs.DetachNetworkInterfaceRequest(**on))
    del on["instance_id"]
    ask(made, "delete_network_interface", ecs.DeleteNetworkInterfaceRequest(**on))
    request = ecs.DescribeNetworkInterfacesRequest(
        region_id=REGION, network_interface_id=[nic.network_interface_id], max_results=10
    )
    left = ask(made, "describe_network_interfaces", request).network_interface_sets
    check(not (left and left.network_interface_set), "deleted", left)
    gone = refused(made, "delete_network_interface", ecs.DeleteNetworkInterfaceRequest(**on))
    check(gone == "InvalidEniId.NotFound", "gone", gone)


def refusals(made):
    def assign(**wish):
        return ecs.AssignPrivateIpAddressesRequest(region_id=REGION, network_interface_id=NIC, **wish)

    cases = {
        "InvalidIp.IpAssigned": assign(private_ip_address=["192.168.0.161"]),
        "InvalidVSwitchId.IpInvalid": assign(private_ip_address=["192.168.0.254"]),
        "InvalidOperation.Ipv4CountExceeded": assign(secondary_private_ip_address_count=40),
        "MissingParameter": assign(),
    }
    for code, request in cases.items():
        got = refused(made, "assign_private_ip_addresses", request)
        check(got == code, "refusal", code, got)
    listing_request = ecs.DescribeNetworkInterfacesRequest(region_id=REGION)
    wrong = client(Ecs, "ECS", secret="wrong")
    check(refused(wrong, "describe_network_interfaces", listing_request) == "SignatureDoesNotMatch", "wrong secret")
    elsewhere = ecs.DescribeNetworkInterfacesRequest(region_id="cn-beijing")
    check(refused(made, "describe_network_interfaces", elsewhere) == "InvalidRegionId.NotFound", "region")
    astray = client(Vpc, "ECS")
    code = refused(astray, "describe_vswitches", vpc.DescribeVSwitchesRequest(region_id=REGION))
    check(code == "InvalidAction.NotFound", "a VPC call on the ECS port", code)


def role():
    made = client(Sts, "STS")
    request = sts.AssumeRoleWithOIDCRequest(
        role_arn=os.environ["ROLE"],
        oidcprovider_arn=os.environ["PROVIDER"],
        oidctoken=os.environ["OIDC_TOKEN"],
        role_session_name="sdk",
        duration_seconds=900,
    )
    got = ask(made, "assume_role_with_oidc", request).credentials
    temporary = Ecs(
        Config(
            protocol="http",
            endpoint=os.environ["ECS"],
            access_key_id=got.access_key_id,
            access_key_secret=got.access_key_secret,
            security_token=got.security_token,
        )
    )
    request = ecs.DescribeNetworkInterfacesRequest(region_id=REGION, max_results=10)
    body = temporary.describe_network_interfaces_with_options(request, ONCE).body
    check(len(body.network_interface_sets.network_interface_set) == 10, "the credential signs")


def main():
    made = client(Ecs, "ECS")
    listing(made)
    instances(made)
    vswitches(client(Vpc, "VPC"))
    addresses(made)
    lifecycle(made)
    refusals(made)
    role()
    print(f"{checks} checks passed")


main()
