"""Chat templates with the rules of each generation's own: system role, alternation, trimming."""

GEMMA_1_TEMPLATE = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

GEMMA_3_TEMPLATE = """\
{{ bos_token }}{% set first = '' %}{% set turns = messages %}\
{% if messages[0]['role'] == 'system' %}\
{% if messages[0]['content'] is string %}{% set first = messages[0]['content'] + '\n\n' %}\
{% else %}{% set first = messages[0]['content'][0]['text'] + '\n\n' %}{% endif %}\
{% set turns = messages[1:] %}{% endif %}\
{% for message in turns %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') }}\
{% if message['content'] is string %}{{ message['content'] | trim }}\
{% else %}{% for part in message['content'] %}{{ part['text'] | trim }}{% endfor %}{% endif %}\
{{ '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

GEMMA_4_TEMPLATE = """\
{{ bos_token }}{% macro strip_thinking(text) %}{% set kept = namespace(text='') %}\
{% for part in text.split('<channel|>') %}\
{% set kept.text = kept.text + part.split('<|channel>')[0] %}{% endfor %}\
{{ kept.text | trim }}{% endmacro %}\
{% for message in messages %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
{{ '<|turn>' + role + '\n' }}\
{% if role == 'model' %}{{ strip_thinking(message['content']) }}\
{% elif message['content'] is string %}{{ message['content'] | trim }}\
{% else %}{% for part in message['content'] %}{{ part['text'] | trim }}{% endfor %}{% endif %}\
{{ '<turn|>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}"""
