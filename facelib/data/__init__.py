"""Photos in, packed faces and pairs out."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "images": "decode decode_whole Unreadable",
        "archives": "DatasetError DamagedArchive members fingerprint digest",
        "layouts": "read_table write_table folder_of_archives",
        "packed": "PackedFaces to_input",
        "packing": "pack join",
        "fetching": "Remote fetch",
        "catalog": "load source find missing lfw_variant lfw_pairs_file parts_of SETS DEMO_SETS",
        "splits": "Experiment experiment split_people hold_out pairs_of two_photos",
        "pairs": "Pairs draw_pairs draw_by_source existing at_most read_lfw_pairs match_lfw_pairs",
        "leaks": "check_disjoint check_sets check_people near_duplicates without_copies",
        "protocols": "PhotoPair view1 view2_outside_view1 outside_view2",
        "bins": "read_bin read_parquet",
        "framing": "FRAME similarity crop",
        "quality": "measured",
        "detection": "Face FaceError read_photo align choose refine drawn",
        "rendered": "write_people render_face",
        "corruptions": "corrupt CORRUPTIONS SEVERITIES",
    },
)
