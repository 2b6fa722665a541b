"""The look in numbers: colours, type and spacing for Gradio's own components.

Knows nothing of layout, which is in `assets/style.css`. Only fonts that the system has: nothing
is fetched.
"""

from gradio.themes import Base
from gradio.themes.utils import colors, sizes

JADE = colors.Color(
    name="jade", c50="#edf8f5", c100="#d3eee7", c200="#a9dccf", c300="#7cc7b5", c400="#4fae98",
    c500="#2a937c", c600="#137563", c700="#0f6153", c800="#104e44", c900="#0f4039", c950="#072621",
)  # fmt: skip
STONE = colors.Color(
    name="stone", c50="#faf9f7", c100="#f3f1ed", c200="#e6e3dc", c300="#d3cfc5", c400="#a7a297",
    c500="#767268", c600="#5a574f", c700="#43413b", c800="#2a2926", c900="#1e1d1b", c950="#161513",
)  # fmt: skip
TEXT_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
CODE_FONTS = ("ui-monospace", "SF Mono", "Cascadia Code", "Menlo", "Consolas", "monospace")


class GemmaSpaceTheme(Base):
    """Warm grey paper, one calm green, thin lines, no shadows."""

    def __init__(self) -> None:
        super().__init__(
            primary_hue=JADE,
            secondary_hue=JADE,
            neutral_hue=STONE,
            text_size=sizes.text_md,
            spacing_size=sizes.spacing_md,
            radius_size=sizes.radius_lg,
            font=TEXT_FONTS,
            font_mono=CODE_FONTS,
        )
        self.set(
            body_background_fill="*neutral_50",
            body_background_fill_dark="*neutral_950",
            body_text_color="#23211d",
            body_text_color_dark="#ece9e2",
            body_text_color_subdued="#625e55",
            body_text_color_subdued_dark="#aaa599",
            background_fill_primary="white",
            background_fill_primary_dark="*neutral_900",
            background_fill_secondary="*neutral_100",
            background_fill_secondary_dark="*neutral_800",
            border_color_primary="*neutral_200",
            border_color_primary_dark="#37352f",
            border_color_accent="*primary_600",
            color_accent="*primary_600",
            color_accent_soft="*primary_50",
            color_accent_soft_dark="*primary_950",
            link_text_color="*primary_700",
            link_text_color_dark="*primary_300",
            block_background_fill="transparent",
            block_background_fill_dark="transparent",
            block_border_width="0px",
            block_padding="0px",
            block_shadow="none",
            block_label_background_fill="transparent",
            block_label_border_width="0px",
            block_label_text_color="*body_text_color_subdued",
            block_title_text_color="*body_text_color",
            block_title_text_weight="550",
            block_title_text_size="*text_sm",
            block_info_text_color="*body_text_color_subdued",
            block_info_text_color_dark="*body_text_color_subdued",
            block_info_text_size="*text_sm",
            input_background_fill="white",
            input_background_fill_dark="*neutral_900",
            input_border_width="1px",
            input_border_color="#bdb8ac",
            input_border_color_dark="#5d594f",
            input_border_color_focus="*primary_600",
            input_border_color_focus_dark="*primary_400",
            input_shadow="none",
            input_shadow_focus="0 0 0 3px *primary_100",
            input_shadow_focus_dark="0 0 0 3px *primary_900",
            input_placeholder_color="#736f65",
            input_placeholder_color_dark="#98938a",
            button_border_width="1px",
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_dark="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            button_primary_background_fill_hover_dark="*primary_700",
            button_primary_border_color="*primary_600",
            button_primary_text_color="white",
            button_secondary_background_fill="transparent",
            button_secondary_background_fill_dark="transparent",
            button_secondary_background_fill_hover="*neutral_100",
            button_secondary_background_fill_hover_dark="*neutral_800",
            button_secondary_border_color="*neutral_300",
            button_secondary_border_color_dark="#4a473f",
            button_secondary_text_color="*body_text_color",
            slider_color="*primary_600",
            slider_color_dark="*primary_400",
            checkbox_background_color_selected="*primary_600",
            checkbox_background_color_selected_dark="*primary_600",
            checkbox_label_background_fill="transparent",
            checkbox_label_background_fill_dark="transparent",
            checkbox_label_border_width="0px",
            checkbox_label_border_width_dark="0px",
            checkbox_label_padding="0px",
            checkbox_label_shadow="none",
            code_background_fill="*neutral_100",
            code_background_fill_dark="*neutral_800",
            panel_background_fill="transparent",
            panel_background_fill_dark="transparent",
        )
