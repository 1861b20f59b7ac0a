"""Values of a DICOM header that a message may name, and what it says instead of any other.

One damaged length is enough to make an element swallow those after it, and with them the patient's name, so a
message never quotes a value because an element should hold it. It names a value only if it is one of a known
set; of any other one it says how long it is.
"""

import re
from collections.abc import Container
from typing import Final

from pydicom.uid import UID

__all__ = ["BODY_PARTS", "MODALITIES", "OTHER_PARTS", "PHOTOMETRIC", "length_of", "stated", "uid_name"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES: Final = _words(
    """
    ANN AR AU BI BMD CD CR CT CTPROTOCOL DD DG DOC DR DX ECG EM EPS ES FA FID FS GM HC HD IO IVOCT
    IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PHOTO
    PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT
    RWV SC SEG SM SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XC XR XRAY
    """
)
"""Modalities of PS3.3 C.7.3.1.1.1, retired ones, and DR, XR, SC and XRAY, which some archives write."""

PHOTOMETRIC: Final = frozenset(
    {
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL"),
        *("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"),
    }
)
"""Photometric interpretations of PS3.3 C.7.6.3.1.2."""

BODY_PARTS: Final = _words(
    """
    ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK
    CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS
    CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS
    EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP
    HUMERUS ILEUM ILIUM JAW JAWREGION JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG
    MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY
    PANCREAS PARATHYROID PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RECTUM RIB RIBS SCALP
    SCAPULA SCLERA SCROTUM SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR TESTIS
    THIGH THUMB THYMUS THYROID TIBIA TLSPINE TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS
    VAGINA VULVA WHOLEBODY WRIST ZYGOMA
    """
)
"""Body parts of PS3.16 Annex L, and a few that archives write."""

_DESCRIBED: Final = {
    "ABDOMEN": "ABD ABDOMEN ABDOMINAL BAUCH KUB",
    "ANKLE": "ANKLE ANKLES CALCANEUS CHEVILLE SPRUNGGELENK TOBILLO",
    "ARM": "ARM ARMS FOREARM HUMERUS RADIUS ULNA UNTERARM",
    "ELBOW": "COUDE ELBOW ELBOWS ELLENBOGEN",
    "FOOT": "FEET FOOT FUSS TOE TOES",
    "HAND": "FINGER FINGERS HAND HANDS HAENDE MANO THUMB",
    "HEAD": "BRAIN HEAD JAW KOPF MANDIBLE ORBIT ORBITS SCHAEDEL SINUS SINUSES SKULL",
    "HIP": "CADERA HANCHE HIP HIPS HUEFTE",
    "KNEE": "GENOU GINOCCHIO KNEE KNEES KNIE PATELLA RODILLA",
    "LEG": "FEMUR FIBULA LEG LEGS THIGH TIBIA UNTERSCHENKEL",
    "NECK": "CERVICAL CSPINE HWS NECK",
    "PELVIS": "BACINO BASSIN BECKEN PELVIC PELVIS SACRUM",
    "SHOULDER": "CLAVICLE EPAULE HOMBRO SCAPULA SCHULTER SHOULDER SHOULDERS SPALLA",
    "SPINE": "LSPINE LUMBAR LWS SPINE TSPINE WIRBELSAEULE",
    "WRIST": "HANDGELENK MUNECA POIGNET POLSO WRIST WRISTS",
}
OTHER_PARTS: Final = {word: part for part, words in _DESCRIBED.items() for word in words.split()}
"""Words for other parts of the body than the chest in descriptions, and the part that each names."""


def stated(value: str, known: Container[str], absent: str = "not given") -> str:
    """Return a value if it is one of a known set, and otherwise only how long it is."""
    if not value:
        return absent
    return value if value in known else length_of(value)


def length_of(value: str) -> str:
    """Describe a value that is not repeated, since it may be anything that the file holds."""
    return f"an unknown value of {len(value):,} characters"


def uid_name(uid: str) -> str:
    """Return the name that DICOM gives a UID, and of any other one only how long it is."""
    name = UID(uid).name if re.fullmatch(r"[0-9.]{1,64}", uid) else uid
    return name if name != uid else stated(uid, ())
