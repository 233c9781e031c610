"""The closed list of events: a class of retention for each, and what its payload holds.

The one place from which the classes, the check of what is recorded, and the auditor's program
come. It is text, so that the program takes it as it is: a type, its class, and its fields, each
with its kind; `?` for one that may be absent, and `/` between kinds.
`@act` and its like stand for the fields of `MEANS`.
"""

MEANS = {
    "@act": "request=object approvals=list code=text? reason=text?",
    "@token": "token=text serial=text state=text",
    "@said": "serial=text? state=text? token=text? statement=object? second=object? missing=list?"
    " reason=text? revoked=number? to_be_revoked_elsewhere=list?",
    "@job": "job=text token=text step=text standing=text station=text trace=object?",
}
CATALOGUE = """
AUTHORITY.CHANGED always hash=text record=object
AUTHORITY.REJECTED access reason=text
AUTHORITY.RECOVERED access reason=text
APPROVAL.REQUESTED key request=object
APPROVAL.GIVEN key approval=object state=text
APPROVAL.REFUSED key approval=object state=text
APPROVAL.REJECTED key approval=object code=text reason=text
EXECUTION.REFUSED key code=text reason=text
APPROVAL.CANCELLED key reason=text
APPROVAL.EXPIRED key expires_at=text
KEY.GENERATED key @act key=text? state=text? public_key=text? check_value=text? attributes=object?
  reconciled=bool?
KEY.IMPORTED key @act key=text? state=text? public_key=text? check_value=text? attributes=object?
  check_values=object/null? combined=text? handover=text? transcript_sha256=text? reconciled=bool?
KEY.EXPORTED key @act key=text? blob_size=number? check_values=object? combined=text?
  components=number? handover=text? transcript_sha256=text? reconciled=bool?
HANDOVER.OPENED key command=text custodians=list request=text signature=text statement=text
  until=text
HANDOVER.DELIVERED key at=text check_values=object content_sha256=text credential=text
  number=number origin=text person=text request=text session=text signature=text statement=text
HANDOVER.COLLECTED key at=text check_values=object content_sha256=text credential=text
  handed_out=object number=number origin=text person=text request=text session=text signature=text
  statement=text
HANDOVER.REFUSED key code=text number=number reason=text request=text
HANDOVER.ABORTED key request=text reason=text transcript_sha256=text?
HANDOVER.EXPIRED key request=text reason=text transcript_sha256=text?
HANDOVER.LOST key request=text reason=text
BAG.SEALED key bag=text number=number request=text
BAG.RETURNED key request=text number=number bag=text
BAG.MISMATCHED key bag=text came=text number=number request=text
KEY.REQUESTED key class=text command=text key=text need=text/null? supersedes=text/null?
KEY.REGISTERED key class=text key=text owner=text residence=text terms=object? token=text
KEY.LABELLED key key=text number=number text=text place=text? reference=text?
KEY.DISTRIBUTED key key=text number=number target=text channel=text reference=text?
KEY.INSTALLED key key=text number=number target=text reference=text?
KEY.RENEWED key key=text number=number certificate=text? serial=text not_after=text/null
  reason=text?
KEY.HOLD_SET key hold=text key=text kind=text reason=text
KEY.HOLD_LIFTED key @act key=text? hold=text?
KEY.SUPERSEDED key key=text request=text state=text successor=text
KEY.ACTIVATED key @act key=text? state=text? version=number? reconciled=bool?
KEY.SUSPENDED key key=text before=text after=text reason=text emergency_code=text?
KEY.RESUMED key @act key=text? state=text? version=number? reconciled=bool?
KEY.DEACTIVATED key @act key=text? state=text? version=number? reconciled=bool?
KEY.COMPROMISE_DECLARED key key=text before=text after=text reason=text known_at=text
  declared_at=text emergency_code=text?
KEY.IMPACT_LISTED key certificate_count=number certificates=list first_use=text/null key=text
  last_use=text/null successor=text/null systems=list token_count=number? tokens=list? uses=number
  wrapped=list wrapped_count=number
KEY.NOTICE_SENT key key=text body=text sent_at=text reference=text?
KEY.DESTROYED key @act key=text? state=text? version=number? copies=list? reconciled=bool?
KEY.DESTRUCTION_CERTIFIED key key=text sha256=text signature=text
LOG.RECOVERED always @act epoch=number kept_size=number kept_root=text lost_size=number
  lost_root=text
KEY.BACKED_UP key backup=text backup_key=text keys=number left_out=number log_size=number
  owner=text place=text root=text sha256=text size=number
KEY.RESTORED key backup=text compared=number? failed=list? failed_count=number? ok=bool
  opened=number? reason=text? restoration=text restored=number? skipped=number? undone=number?
  whole=bool?
KEY.DRILLED key backup=text compared=number failed=list failed_count=number ok=bool opened=number
  restoration=text restored=number skipped=number undone=number whole=bool
BACKUP.KEY_MADE key @act key=text? backup_key=text? check_value=text? share_set=number?
  shares=list? threshold=number? reconciled=bool?
BACKUP.KEY_DESTROYED key @act key=text? objects=number? backups=list? shares_left=list?
  reconciled=bool?
BACKUP.RESTORATION_BEGUN key @act key=text? restoration=text? entry_sha256=text? reconciled=bool?
BACKUP.DESTROYED key backup=text backup_key=text sha256=text size=number keys=number
  left_out=number place=text owner=text log_size=number root=text how=text
SHARE.CREATED key backup_key=text fingerprint=text holder=text number=number
SHARE.OPENED key backup_key=text bag=text fingerprint=text holder=text number=number place=text
  state=text
SHARE.ENTERED key backup=text code=text? holder=text? number=number reason=text? rebuilt=bool?
  restoration=text
SHARE.MOVED key backup_key=text state=text number=number holder=text fingerprint=text place=text
  bag=text reason=text
SHARE.DESTROYED key backup_key=text state=text number=number holder=text fingerprint=text
  place=text bag=text reason=text
KEY.USED use action=text cell_usage=text? code=text? count=number? counter=object? details=list?
  details_root=text? digest=text? key=text kind=text? mechanism=text originator=text?
  peer_sha256=text? reason=text? recipient=text? result_sha256=text? series=text? use=text?
  z=text?
KEY.USE_DENIED access action=text reason=text key=text? mechanism=text?
KEY.USE_ALLOWED key @act key=text? uses=number? reconciled=bool?
KEY.RECONCILED key finding=text key=text detail=text
RECONCILIATION.TAKEN key drift=object findings=number reconciliation=text sha256=text
RECONCILIATION.SIGNED key reconciliation=text? sha256=text findings=number statement=text
  signature=text
EMERGENCY.CODE_MADE people code=text until=text
EMERGENCY.CODE_WITHDRAWN people code=text
KEK.ROTATED key @act key=text? number=number? check_value=text? reconciled=bool?
KEK.REWRAPPED key failed=list kek=text keys=list
KEK.RETIRED key @act key=text? number=number? destroyed=number? reconciled=bool?
REGISTER.EXPORTED key form=text register=text
COUNTER.ADVANCED key count=number first=text last=text series=text step=text
COUNTER.FLOOR_RAISED key after=text before=text reason=text series=text
COUNTER.REGRESSION_BLOCKED key highest=text issued=text series=text
CSR.BUILT key certificate=text? key=text? csr_sha256=text? profile=text? subject=text?
  interface=text? system=text? batch=text? after=text? code=text? reason=text?
CSR.SUBMITTED key certificate=text reference=text? after=text? batch=text?
CSR.REJECTED key certificate=text reason=text after=text? batch=text?
CSR.WITHDRAWN key certificate=text reason=text after=text? batch=text?
CERT.RECEIVED key certificate=text certificate_sha256=text serial=text issuer=text not_before=text
  not_after=text decide_until=text? after=text? batch=text?
CERT.ACCEPTED key certificate=text reason=text after=text? batch=text?
CERT.REJECTED key certificate=text after=text? batch=text? reason=text? mismatches=list
  certificate_sha256=text? serial=text? issuer=text? not_before=text? not_after=text?
CERT.REVOKED key certificate=text? reason=text after=text? batch=text? issuer=text? job=text?
  key_sha256=text? not_after=text? not_before=text? profile=text? serial=text? slot=text?
  sha256=text? subject=text?
CERT.EXPIRED key certificate=text ended=text after=text? batch=text?
CERT.OVERDUE key certificate=text since=text after=text? batch=text?
CERT.WATCHED key certificate=text certificate_sha256=text kind=text subject=text issuer=text
  serial=text not_after=text not_before=text? after=text? batch=text?
CERT.ISSUED key issuer=text job=text? profile=text serial=text slot=text? key_sha256=text
  not_before=text not_after=text sha256=text? subject=text? token=text?
CRL.ISSUED key certificates=number next_update=text number=number sha256=text this_update=text
CRL.STALE key number=number next_update=text
CA.CERTIFIED key @act key=text? parent=text/null? name=text? serial=text? ends=text? sha256=text?
  reconciled=bool?
CA.SIGNER_CERTIFIED key @act key=text? parent=text? name=text? serial=text? ends=text? sha256=text?
  reconciled=bool?
ISSUE.ORDERED token @job plan=object? batch=text? issuer=text? jobs=number?
ISSUE.STEP token @job what=text cause=text? certificates=list/object?
ISSUE.STOPPED token @job what=text cause=text? code=text? last=object?
ISSUE.DONE token @job what=text cause=text?
ISSUE.REKEYED token @job what=text cause=text?
STATION.REPORTED access station=text state=text before=text reader=text
STATION.FAILED access station=text state=text reader=text since=text jobs=list
STATION.RECOVERED access station=text state=text reader=text jobs=list
PIN.MAILED token @job holder=text
PIN.CHOSEN token @job what=text
PUK.SPENT key @job what=text
TOKEN.STOCKED token at=text? giver=text? model=text number=number? place=text? seal=text?
  second=object? serial=text statement=object? statement_id=text? taker=text? token=text
TOKEN.NOMINATED token statement=object
TOKEN.SIGNED token missing=list? statement=object
TOKEN.ALLOCATED token missing=list? serial=text? state=text? statement=object token=text?
TOKEN.PERSONALISED token @said begins=bool? facts=object? job=text keys=object? cause=text?
TOKEN.QUARANTINED token @token job=text cause=text revoked=number?
TOKEN.DISPATCHED token @said
TOKEN.DELIVERED token @said
TOKEN.ACTIVATED token @said
TOKEN.SUSPENDED token @said
TOKEN.RESUMED token @said
TOKEN.LOST token @said emergency_code=text? since=text/null?
TOKEN.REVOKED token @said
TOKEN.EXPIRED token @said
TOKEN.REPLACED token @said next=text?
TOKEN.RETURNED token @said
TOKEN.DESTROYED token @said
PIN.BLOCKED token @said
PIN.RELEASED token @said
PIN.UNBLOCKED token allowed_a_year=number serial=text state=text statement=text token=text
CUSTODY.TRANSFERRED token @said at=text? giver=text? number=number? place=text? seal=text?
  taker=text?
CUSTODY.OVERDUE token @token due=text? reason=text? revoked=number?
STOCK.COUNTED token right=number statement=object
STOCK.DISCREPANCY token missing=list place=text statement=text surplus=list
STOCK.SETTLED token finding=text statement=text
FILE.SIGNED key name=text reason=text? serial=text? sha256=text signature_sha256=text
  signer=text? sha384=text?
FILE.VERIFIED use name=text reason=text? serial=text? sha256=text signature_sha256=text
  signer=text? sha384=text?
QUORUM.AT_RISK access level=text text=text able=list needed=number margins=list
QUORUM.RECOVERED access level=text text=text able=list needed=number margins=list
CEREMONY.STARTED key ceremony=text name=text script_sha256=text title=text version=number
CEREMONY.CLOSED always ceremony=text deviations=number outcome=text script_sha256=text sha256=text
  title=text transcript=object
AUTH.OK access person=text credential=text
AUTH.FAILED access count=number credential=text person=text reason=text
AUTH.LOCKED access count=number failures=number identity=text seconds=number
SESSION.CLOSE access session=text?
SESSION.REOPENED access session=text
ACCESS.DENIED access action=text reason=text
ACCESS.LIMITED access count=number reason=text source=text
CONN.REFUSED access count=number reason=text source=text
GATE.REFUSED access boot=text count=number refusals=list
HSM.ERROR access reason=text
HSM.RECOVERED access reason=text
AUDIT.EXPORTED key query=object manifest_sha256=text start=number end=number size=number
AUDIT.QUERIED access query=object
AUDIT.HANDED_OVER key entry=object
PAYLOAD.ERASED always @act events=list? ground=text?
PAYLOAD.PURGED always @act retention=text? before=text? days=number? start=number? end=number?
  count=number? events=text? archives=list? total=number? more=bool?
AUDIT.STREAM_HEADS always size=number count=number root=text
AUDIT.HOLD_SET always hold=text about=text kind=text reason=text
AUDIT.HOLD_LIFTED always @act hold=text? about=text?
AUDIT.CHECKED key size=number root=text erased=number tiles=number checkpoints=number keys=number?
  wrong=text
AUDIT.MISFIT access about=text what=text
AUDIT.ARCHIVED key year=number start=number end=number size=number sha256=text
AUDIT.HEARTBEAT use version=text program_sha256=text migration=text unsealed=number
  unwitnessed=number
SERVICE.STARTED access authority=number version=text
STREAM.FAILED access name=text reason=text position=number
STREAM.RECOVERED access name=text position=number
TIME.STAMPED access authority=text size=number sha256=text time=text
TIME.STAMP_FAILED access authority=text size=number reason=text
TIME.UNTRUSTED access state=text detail=text
TIME.TRUSTED access state=text detail=text
NOTICE.SENT access channel=text notices=list
NOTICE.FAILED access channel=text reason=text
WITNESS.FAILED access witness=text size=number reason=text
WITNESS.REFUSED access witness=text? key=text? vkey=text? size=number reason=text
WITNESS.RECOVERED access witness=text? key=text? vkey=text? size=number
"""
