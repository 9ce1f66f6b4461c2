"""Why a wire, a device or a sink failed, in Chinese: phrase by phrase of the English sentences. Pure.

Drivers speak one language, so that logs can be searched. What is not listed here stays English: addresses, numbers and
the words of servers and devices do so on purpose.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PHRASES: tuple[tuple[str, str], ...] = (
    # wires: drivers/transport
    (r"(\S+) does not answer within (\S+) s: check its power, the cable, the address and the firewall",
     r"\1 在 \2 秒内无应答：请检查电源、网线、地址和防火墙"),
    (r": the name is not known \((.*?)\): check host and name server", r"：域名无法解析（\1），请检查主机名和 DNS"),
    (r"(\S+) refuses the connection: nothing listens on this port, or another client has it",
     r"\1 拒绝连接：该端口没有服务，或已被其他客户端占用"),
    (r": connection lost: closed by the other side", r"：连接被对方关闭"),
    (r": connection lost: ", r"：连接中断："),
    (r"the line is not open", r"线路未打开"),
    (r"(\S+) is not open", r"\1 未打开"),
    (r": closed by us", r"：已由网关关闭"),
    (r": the connection is closing", r"：连接正在关闭"),
    (r"there is no serial port (\S+): plug the adapter in, or choose a name from ls (\S+)",
     r"没有串口 \1：请插好转换器，或从 ls \2 中选择名称"),
    (r"(\S+): the adapter behind this port is gone: plug it in again", r"\1：转换器已拔出，请重新插好"),
    (r"no permission to open (\S+): add this user to the group dialout and log in again",
     r"没有权限打开 \1：请将当前用户加入 dialout 组后重新登录"),
    (r"(\S+) is in use by another program: stop that one \((.*?) shows it\)",
     r"\1 正被其他程序占用：请停止该程序（可用 \2 查看）"),
    (r"(\S+) is not a serial port", r"\1 不是串口"),
    (r"(\S+) does not do (\d+) baud, (\d) data bits, parity (\w+), (\d) stop bits: "
     r"use another adapter or another setting of the devices",
     r"\1 不支持波特率 \2、数据位 \3、校验 \4、停止位 \5：请更换转换器或修改设备参数"),
    (r"(\S+) does not open: ", r"\1 无法打开："),
    (r"cannot listen on (\S+): ", r"无法监听 \1："),
    (r": take an address of this machine, and a port that no other program has",
     r"：请使用本机地址和未被占用的端口"),
    # what devices on it do
    (r"no answer within (\S+) s", r"\1 秒内无应答"),
    (r"stayed silent for (\S+) s", r"\1 秒无应答"),
    (r"no report for (\S+) s", r"\1 秒没有上报"),
    (r"no packet for (\S+) s", r"\1 秒没有收到数据包"),
    (r"sends no HJ 212 packets: check protocol and speed", r"发来的不是 HJ 212 数据包，请检查协议和波特率"),
    (r"(\d+) bytes came within (\S+) s but no answer", r"\2 秒内收到 \1 字节，但不是有效应答"),
    (r" \(no answer was ever understood here: compare speed and parity; no two devices may have one address\)",
     r"（本线路从未收到有效应答：请核对波特率和校验，地址不得重复）"),
    (r"answers come later than the time-out of (\S+) s, so it is not sure what they answer: "
     r"give the link a longer one", r"应答晚于超时时间 \1 秒，无法确认对应哪个请求：请加大链路的超时时间"),
    (r"the wire does not fall quiet for (\S+) s: another master or a device that keeps sending is on it",
     r"线路 \1 秒内始终不静默：可能有另一主站或设备一直在发送"),
    (r"no Modbus TCP header", r"不是 Modbus TCP 报文"),
    (r"the reply does not fit the request", r"应答与请求不符"),
    (r"illegal function", r"不支持的功能码"),
    (r"illegal data address", r"寄存器地址无效"),
    (r"illegal data value", r"数据值或数量无效"),
    (r"device failure", r"设备故障"),
    (r"acknowledged, still working on it", r"已受理，处理中"),
    (r"device busy", r"设备忙"),
    (r"gateway path unavailable", r"网关通道不可用"),
    (r"device behind the gateway does not answer", r"网关后的设备无应答"),
    (r"refuses (.+): tried again now and then", r"拒绝 \1：会不时重试"),
    (r"\(exception (\d+)\) for ", r"（异常码 \1）："),
    (r"\bunit (\d+)\b", r"站号 \1"),
    (r"\bmeter (\d+)\b", r"表计 \1"),
    # brokers and servers
    (r"the broker refuses the credentials: check username and password", r"服务器拒绝登录：请检查用户名和密码"),
    (r"the broker refuses the client_id", r"服务器拒绝此 client_id"),
    (r"the broker has banned this client", r"服务器已禁止此客户端"),
    (r"the broker's certificate is not trusted: check ca_file and the host name",
     r"服务器证书不受信任：请检查 ca_file 和主机名"),
    (r"there is no TLS on this port: check port and tls", r"此端口没有 TLS：请检查 port 和 tls"),
    (r"connection refused: is the broker running, is the port right\?", r"连接被拒绝：请确认服务器已运行、端口正确"),
    (r"the host name is not known", r"域名无法解析"),
    (r"the host name cannot be looked up now: check DNS and network", r"暂时无法解析域名：请检查 DNS 和网络"),
    (r"no connection within the time-out: check host, port and network", r"连接超时：请检查主机、端口和网络"),
    (r"no connection in time; is the network up\?", r"连接超时，请检查网络"),
    (r"refused the connection", r"拒绝连接"),
    (r"cannot connect: ", r"无法连接："),
    (r"connection lost \((\w+)\)", r"连接中断（\1）"),
    (r"not connected", r"未连接"),
    # the system's own words
    (r"Connection refused", r"连接被拒绝"),
    (r"Connection reset by peer", r"连接被对方重置"),
    (r"No route to host", r"无法到达主机"),
    (r"Network is unreachable", r"网络不可达"),
    (r"Address already in use", r"端口已被占用"),
    (r"Cannot assign requested address", r"本机没有该地址"),
    (r"Permission denied", r"没有权限"),
    (r"Input/output error", r"读写错误"),
    (r"Name or service not known", r"域名不存在"),
    (r"Temporary failure in name resolution", r"暂时无法解析域名"),
)  # fmt: skip
"""English of the drivers -> Chinese, longer sentences before their parts."""

_RULES = tuple((re.compile(english), chinese) for english, chinese in _PHRASES)


@lru_cache(maxsize=256)
def in_chinese(text: str) -> str:
    """Return the sentence with every known phrase in Chinese."""
    for pattern, chinese in _RULES:
        text = pattern.sub(chinese, text)
    return text


def reason(text: str | None) -> dict[str, str] | None:
    """Both languages of an error text, as the page takes labels; None when there is none."""
    return None if text is None else {"en": text, "zh": in_chinese(text)}
