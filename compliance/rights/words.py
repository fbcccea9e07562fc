"""The words in which a person is told what was done with its data."""

from __future__ import annotations

from datetime import UTC, datetime

from compliance.agreement.vocabulary import Title
from compliance.rights.kinds import Answer, Kind, State

ACTS = {
    "check": Title("you were looked up in the fraud reports", "查詢您是否列於詐欺通報"),
    "screen": Title("you were looked up together with all customers", "與全體客戶一併篩檢"),
    "read_score": Title("your score was looked at", "查看您的評分"),
    "release_score": Title("a score about you was given", "釋出關於您的評分"),
    "enter_report": Title("a report that names you was entered", "登錄提及您的通報"),
    "publish": Title("a report that names you was published", "發布提及您的通報"),
    "withdraw": Title("a report that names you was withdrawn", "撤回提及您的通報"),
    "search_subject": Title(
        "your data were searched for you or for an audit", "為您或稽核而檢索您的資料"
    ),
    "open_query": Title("a lookup of you was opened to an auditor", "向稽核人員開啟關於您的查詢"),
    "answer_rights_request": Title("your request was worked on", "處理您的請求"),
    "settle_dispute": Title("your dispute was decided", "裁定您的爭議"),
    "erase": Title("data about you were erased", "刪除關於您的資料"),
}
OUTCOMES = {
    "hit": Title("something was found", "有所發現"),
    "miss": Title("nothing was found", "無所發現"),
    "done": Title("done", "已完成"),
    "refused": Title("refused", "已拒絕"),
    "failed": Title("failed", "失敗"),
}
KINDS = {
    Kind.ACCESS: Title("access", "查詢或閱覽"),
    Kind.CORRECTION: Title("correction", "補充或更正"),
    Kind.OBJECTION: Title("objection, stop of use", "停止蒐集、處理或利用"),
    Kind.ERASURE: Title("erasure", "刪除"),
    Kind.DISPUTE: Title("dispute of a listing", "通報爭議"),
}
STATES = {
    State.RECEIVED: Title("received", "已受理"),
    State.VERIFIED: Title("identity verified", "身分已確認"),
    State.IN_WORK: Title("in work", "處理中"),
    State.EXTENDED: Title("in work, extended", "處理中（已延長）"),
    State.ANSWERED: Title("answered", "已答覆"),
    State.CLOSED: Title("closed", "已結案"),
}
ANSWERS = {
    Answer.GRANTED: Title("granted", "准許"),
    Answer.PARTLY: Title("granted in part", "部分准許"),
    Answer.REFUSED: Title("refused", "駁回"),
    Answer.TAKEN_BACK: Title("taken back", "撤回"),
}
LANGUAGES = ("zh", "en")


def time_text(at: int | None, offset_s: int) -> str:
    """Write a time as clocks of the jurisdiction show it."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at + offset_s, UTC).strftime("%Y-%m-%d %H:%M")
