# As the real one: the source is where it is, and of SRC_URI what does not come with it is still fetched.
python () {
    source = d.getVar('EXTERNALSRC')
    if source:
        d.setVar('S', source)
        d.setVar('B', d.getVar('EXTERNALSRC_BUILD') or '${WORKDIR}/build')
        kept = [url for url in d.getVar('SRC_URI').split() if url.startswith(('file:', 'crate:'))]
        d.setVar('SRC_URI', ' '.join(kept))
}
