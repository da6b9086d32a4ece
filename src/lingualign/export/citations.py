"""What to cite: the paper of a method, as BibTeX, by the recipe's name.

A recipe that is nobody's method (`random`, `oracle`, `sft`, `translate-dpo`) has none. The paper of an
objective stands beside its formula, in `training/objectives`.
"""

from __future__ import annotations

from importlib import import_module

_YANG = "Wen Yang and Junhong Wu and Chen Wang and Chengqing Zong and Jiajun Zhang"
_ACL = "Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics"


def _paper(key: str, title: str, authors: str, where: str, year: int, url: str) -> str:
    return (
        f"@inproceedings{{{key},\n    title = {{{title}}},\n    author = {{{authors}}},\n"
        f"    booktitle = {{{where}}},\n    year = {{{year}}},\n    url = {{{url}}},\n}}"
    )


METHODS = {
    "icr": [
        _paper(
            "yang-etal-2025-implicit",
            "Implicit Cross-Lingual Rewarding for Efficient Multilingual Preference Alignment",
            _YANG,
            "Findings of the Association for Computational Linguistics: ACL 2025",
            2025,
            "https://arxiv.org/abs/2503.04647",
        )
    ],
    "lidr": [
        _paper(
            "yang-etal-2025-language",
            "Language Imbalance Driven Rewarding for Multilingual Self-improving",
            _YANG,
            "International Conference on Learning Representations",
            2025,
            "https://arxiv.org/abs/2410.08964",
        )
    ],
    "clo": [
        _paper(
            "lee-etal-2025-cross",
            "Cross-Lingual Optimization for Language Transfer in Large Language Models",
            "Jungseob Lee and Seongtae Hong and Hyeonseok Moon and Heuiseok Lim",
            f"{_ACL} (Volume 1: Long Papers)",
            2025,
            "https://arxiv.org/abs/2505.14297",
        )
    ],
    "calm": [
        _paper(
            "wang-etal-2025-calm",
            "{CALM}: Unleashing the Cross-Lingual Self-Aligning Ability of Language Model Question Answering",
            "Yumeng Wang and Zhiyuan Fan and Qingyun Wang and Yi R. Fung and Heng Ji",
            "Findings of the Association for Computational Linguistics: NAACL 2025",
            2025,
            "https://arxiv.org/abs/2501.18457",
        )
    ],
    "cm-align": [
        _paper(
            "zhang-etal-2025-cm",
            "{CM}-Align: Consistency-based Multilingual Alignment for Large Language Models",
            "Xue Zhang and Yunlong Liang and Fandong Meng and Songming Zhang and Yufeng Chen and "
            "Jinan Xu and Jie Zhou",
            "Findings of the Association for Computational Linguistics: EMNLP 2025",
            2025,
            "https://arxiv.org/abs/2509.08541",
        )
    ],
    "lacomsa": [
        _paper(
            "tran-etal-2026-lacomsa",
            "{LaCoMSA}: Language-Consistency Multilingual Self-Alignment with Latent Representation "
            "Rewarding",
            "Khanh-Tung Tran and Barry O'Sullivan and Hoang D. Nguyen",
            "Proceedings of the 19th Conference of the European Chapter of the Association for Computational "
            "Linguistics (Volume 1: Long Papers)",
            2026,
            "https://aclanthology.org/2026.eacl-long.224/",
        )
    ],
    "mapo": [
        _paper(
            "she-etal-2024-mapo",
            "{MAPO}: Advancing Multilingual Reasoning through Multilingual-Alignment-as-Preference "
            "Optimization",
            "Shuaijie She and Wei Zou and Shujian Huang and Wenhao Zhu and Xiang Liu and Xiang Geng and "
            "Jiajun Chen",
            "Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics",
            2024,
            "https://arxiv.org/abs/2401.06838",
        )
    ],
    "rm-transfer": [
        _paper(
            "wu-etal-2024-reuse",
            "Reuse Your Rewards: Reward Model Transfer for Zero-Shot Cross-Lingual Alignment",
            "Zhaofeng Wu and Ananth Balashankar and Yoon Kim and Jacob Eisenstein and Ahmad Beirami",
            "Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing",
            2024,
            "https://arxiv.org/abs/2404.12318",
        ),
        _paper(
            "hong-etal-2025-cross",
            "Cross-lingual Transfer of Reward Models in Multilingual Alignment",
            "Jiwoo Hong and Noah Lee and Rodrigo Mart{\\'i}nez-Casta{\\~n}o and C{\\'e}sar Rodr{\\'i}guez "
            "and James Thorne",
            "Proceedings of the 2025 Conference of the Nations of the Americas Chapter of the Association "
            "for Computational Linguistics: Human Language Technologies (Volume 2: Short Papers)",
            2025,
            "https://arxiv.org/abs/2410.18027",
        ),
    ],
}


def citations(recipe: str, objective: str | None) -> list[str]:
    """BibTeX entries of a method and of the objective that it trains with.

    Args:
        recipe: Name of the recipe.
        objective: Name of the objective; None where there is no preference term.
    """
    entries = list(METHODS.get(recipe, []))
    if objective is not None:
        module = import_module(f"lingualign.training.objectives.{objective.replace('-', '_')}")
        entries.append(str(module.CITATION).strip())
    return entries
